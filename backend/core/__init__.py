"""What every room may use: errors, texts and their identity, settings, signing, files, processes, stored enums."""
