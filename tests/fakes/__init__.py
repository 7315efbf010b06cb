"""Peers that misbehave to order. Where a real peer can show the same, use the real one."""
