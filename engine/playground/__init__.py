"""The page that a server shows at ``/``: its TypeScript, and what is made of it (``static/``)."""
