"""What begins a build by itself: hosted pushes, LFS, webhooks, deliveries."""
