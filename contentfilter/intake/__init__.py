"""Doors through which messages come in."""

from contentfilter.intake.capacity import Capacity, CapacityLimits
from contentfilter.intake.listener import Listener
from contentfilter.intake.service import Admission, Handler, Service, Turn, Unheard
from contentfilter.intake.settings import IntakeSettings

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
