"""An after-queue content filter for Postfix."""
