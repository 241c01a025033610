"""`signet live`: signs appear in the terminal as they are made."""
