"""One module per command of `pushrod`; each is imported when its command is called."""
