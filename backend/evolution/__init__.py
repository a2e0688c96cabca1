"""The house around the game over principles: runs as jobs, the archive of versions, publishing, replay."""
