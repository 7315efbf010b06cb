"""Doors through which messages come in."""

from contentfilter.intake.capacity import Capacity, CapacityLimits
from contentfilter.intake.listener import Listener
from contentfilter.intake.settings import IntakeSettings
from contentfilter.intake.smtp import Admission, Handler, Service, Turn, Unheard

__all__ = [
    "Admission",
    "Capacity",
    "CapacityLimits",
    "Handler",
    "IntakeSettings",
    "Listener",
    "Service",
    "Turn",
    "Unheard",
]
