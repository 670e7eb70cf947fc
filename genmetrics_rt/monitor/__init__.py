"""A guest in a service: watches whether what a generator makes is still good, beside the requests, never in them."""
