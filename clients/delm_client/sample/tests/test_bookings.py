from programs.bookings import booked_minutes, busiest_room


def test_no_bookings():
    assert booked_minutes([]) == {}
    assert busiest_room([]) is None


def test_one_booking_lasts_until_its_end():
    assert booked_minutes([("blue", 540, 600)]) == {"blue": 60}


def test_a_booking_is_cut_to_the_opening_hours():
    assert booked_minutes([("blue", 420, 500), ("red", 1000, 1200)]) == {"blue": 20, "red": 80}


def test_a_booking_outside_the_opening_hours_does_not_count():
    assert booked_minutes([("blue", 300, 480), ("red", 1080, 1100)]) == {}


def test_the_opening_hours_can_be_given():
    assert booked_minutes([("blue", 420, 500)], opening=(400, 450)) == {"blue": 30}


def test_bookings_of_one_room_add_up():
    assert booked_minutes([("blue", 540, 600), ("blue", 700, 715), ("blue", 900, 901)]) == {"blue": 76}


def test_rooms_are_kept_apart():
    bookings = [("blue", 540, 600), ("red", 540, 570), ("blue", 600, 610), ("red", 480, 490)]
    assert booked_minutes(bookings) == {"blue": 70, "red": 40}


def test_the_busiest_room_is_the_one_with_the_most_minutes():
    bookings = [("blue", 540, 600), ("red", 540, 590), ("red", 600, 640)]
    assert busiest_room(bookings) == "red"


def test_equally_busy_rooms_go_by_the_alphabet():
    assert busiest_room([("red", 540, 600), ("blue", 600, 660)]) == "blue"
