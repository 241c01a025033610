"""The commands `signet enroll` and `signet forget`."""
