"""`pushrod run`: a build of the working tree, on this machine alone."""
