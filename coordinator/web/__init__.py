"""The web page: HTML shells without data; the browser fills them from the JSON API."""
