"""``yaongi chat``: what it asks, shows and keeps, a file each; ``command`` joins them."""
