import os
import threading

from tdmm_lm import quiet


def say(what: str) -> None:
    os.write(2, what.encode())  # as C++ does


def test_what_is_said_inside_is_lost_and_the_rest_is_not(capfd):
    say("before ")
    with quiet.stderr():
        say("inside ")
    say("after")
    assert capfd.readouterr().err == "before after"


def test_threads_that_overlap_give_it_back(capfd):
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

    def first():
        with quiet.stderr():
            first_in.set()
            second_in.wait(10)
        first_out.set()

    thread = threading.Thread(target=first)
    thread.start()
    assert first_in.wait(10)
    with quiet.stderr():
        second_in.set()
        assert first_out.wait(10)
        say("still inside ")
    thread.join()
    say("outside")
    assert capfd.readouterr().err == "outside"


def test_a_failure_inside_gives_it_back(capfd):
    try:
        with quiet.stderr():
            raise ValueError
    except ValueError:
        say("told")
    assert capfd.readouterr().err == "told"
