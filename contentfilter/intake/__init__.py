"""Doors through which messages come in."""

from contentfilter.intake.listener import Listener
from contentfilter.intake.settings import IntakeSettings
from contentfilter.intake.smtp import Handler, Unheard

__all__ = ["Handler", "IntakeSettings", "Listener", "Unheard"]
