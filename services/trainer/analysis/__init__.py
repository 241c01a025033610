"""`signet analyze`: what became of a run, what stands out in it, and how runs compare, as one page."""
