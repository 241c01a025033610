"""`signet analyze`: one page about a run, or about several runs compared."""
