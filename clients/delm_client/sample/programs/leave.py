"""How many days of leave somebody has used."""

from programs.spans import length


def leave_days(periods, closed=()):
    """Working days in periods (first, last), both days included.

    Days are numbered through the year. Nobody needs leave on the days in `closed`.
    """
    used = 0
    for first, last in periods:
        if last < first:
            raise ValueError(f"the period {first}-{last} ends before it begins")
        days = 1 if first == last else length(first, last)
        used += days - sum(first <= day <= last for day in closed)
    return used
