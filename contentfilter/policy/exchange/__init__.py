"""Entries and list entries as files that people edit: TOML and CSV, written, read, and compared with what there is."""
