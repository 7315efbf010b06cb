"""Why a message fared as it did, what would have changed that, and what another configuration would do with it."""
