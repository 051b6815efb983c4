"""Serving: the BentoML service, its web page, its limits, and the Bento that contains a bundle."""
