"""How long the rooms of a house are in use."""

from programs.spans import length, overlap


def booked_minutes(bookings, opening=(480, 1080)):
    """Minutes booked per room while the house is open.

    A booking is (room, start, end) in minutes of the day. Rooms that are booked outside the opening
    hours only do not appear.
    """
    totals = {}
    for room, start, end in bookings:
        used = overlap((start, end), opening)
        if used is None:
            continue
        totals.setdefault(room, 0)
        totals[room] = length(*used)
    return totals


def busiest_room(bookings, opening=(480, 1080)):
    """The room that is booked longest, the first in the alphabet among equals; None without bookings."""
    totals = booked_minutes(bookings, opening)
    if not totals:
        return None
    return min(totals, key=lambda room: (-totals[room], room))
