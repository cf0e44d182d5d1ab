"""Clients of one or several servers, whose streams go on elsewhere when a server breaks off."""
