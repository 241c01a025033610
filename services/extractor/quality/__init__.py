"""The quality of extracted clips: numbers for each clip, what they say, and the page about a corpus."""
