"""The application around the pages: navigation, security, documents, entrance."""
