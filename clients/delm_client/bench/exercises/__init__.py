"""Small programs to write or repair until their tests pass."""
