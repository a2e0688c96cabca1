"""Automatic judges, one file each. They know no database: a service around them stores."""
