"""What happens to gateways, and what is told of it; see `world`."""

STORIES = {
    "a lasting loss is raised after its soak and cleared after its hold": """
        at 2.2 los on tg2/3
        within 4.7 5.0 raised los tg2/3
        at 60 los off tg2/3
        within 70 70.5 cleared los tg2/3
    """,
    "a loss shorter than its soak is no alarm": """
        at 1 los on tg2/3
        at 3.4 los off tg2/3
    """,
    "a pause shorter than the hold clears nothing": """
        at 1 los on tg2/3
        within 3.5 3.5 raised los tg2/3
        at 10 los off tg2/3
        at 19 los on tg2/3
        at 40 los off tg2/3
        within 50 50 cleared los tg2/3
    """,
    "what follows from a loss of signal is not told": """
        at 1 los,lof,rai on tg2/3
        at 1.5 d_channel_down on tg2/3
        at 2 out_of_service on tg2/3/17
        within 3.5 3.5 raised los tg2/3
        at 60 los,lof,rai,d_channel_down off tg2/3
        at 61 out_of_service off tg2/3/17
        within 70 70 cleared los tg2/3
    """,
    "what is still wrong when the cause has cleared is raised then": """
        at 1 los,lof,rai on tg2/3
        within 3.5 3.5 raised los tg2/3
        at 60 los off tg2/3
        within 70 70 cleared los tg2/3
        within 70 70 raised lof tg2/3   # and rai follows from it
        at 80 lof off tg2/3
        within 90 90 cleared lof tg2/3
        within 90 90 raised rai tg2/3
        at 100 rai off tg2/3
        within 110 110 cleared rai tg2/3
    """,
    "a consequence that is seen first waits, since causes soak no longer": """
        at 1 lof on tg2/3
        at 1.2 los on tg2/3
        within 3.7 3.7 raised los tg2/3
        at 60 los,lof off tg2/3
        within 70 70 cleared los tg2/3
    """,
    "a cause that never becomes an alarm holds nothing back": """
        at 1 lof on tg2/3
        at 1.2 los on tg2/3
        at 3.6 los off tg2/3
        within 3.6 3.6 raised lof tg2/3
        at 10 lof off tg2/3
        within 20 20 cleared lof tg2/3
    """,
    "an alarm that was told before its cause came is cleared while the cause stands": """
        at 1 lof on tg2/3
        within 3.5 3.5 raised lof tg2/3
        at 10 los on tg2/3
        within 12.5 12.5 raised los tg2/3
        at 20 lof off tg2/3
        within 30 30 cleared lof tg2/3
        at 60 los off tg2/3
        within 70 70 cleared los tg2/3
    """,
    "an unreachable gateway explains all of it but its reboot": """
        at 1 unreachable on tg2
        at 1 los on tg2/3
        within 3.5 3.5 raised unreachable tg2
        at 30 unreachable off tg2
        at 30 reboot on tg2
        within 30 30 raised reboot tg2
        within 40 40 cleared unreachable tg2
        within 40 40 raised los tg2/3
        at 45 reboot off tg2
        within 45 45 cleared reboot tg2
        at 50 los off tg2/3
        within 60 60 cleared los tg2/3
    """,
    "what is not known raises nothing and clears nothing": """
        at 1 los unknown tg2/3
        at 10 los on tg2/3
        within 12.5 12.5 raised los tg2/3
        at 20 los unknown tg2/3
        at 300 los off tg2/3
        within 310 310 cleared los tg2/3
    """,
    "an alarm that flaps says so once, and at last what it has come to": """
        at 0 los on tg2/3
        within 2.5 2.5 raised los tg2/3
        at 4 los off tg2/3
        at 8 los on tg2/3
        at 12 los off tg2/3
        at 16 los on tg2/3
        at 20 los off tg2/3
        at 24 los on tg2/3
        at 28 los off tg2/3
        at 32 los on tg2/3
        at 36 los off tg2/3
        at 40 los on tg2/3
        within 40 40 flapping los tg2/3
        at 44 los off tg2/3
        at 60 los on tg2/3          # raised and cleared, and nobody is told
        at 80 los off tg2/3
        at 100 los on tg2/3
        at 120 los off tg2/3
        within 400 400 cleared los tg2/3
    """,
    "an alarm that flapped and stays is raised again when it is stable": """
        at 0 ais on tg2/3
        at 2 ais off tg2/3
        at 4 ais on tg2/3
        at 6 ais off tg2/3
        at 8 ais on tg2/3
        at 10 ais off tg2/3
        at 12 ais on tg2/3
        at 14 ais off tg2/3
        at 16 ais on tg2/3
        at 18 ais off tg2/3
        at 20 ais on tg2/3
        within 20 20 flapping ais tg2/3
        within 320 320 raised ais tg2/3
        at 400 ais off tg2/3
        within 410 410 cleared ais tg2/3
    """,
    "an alarm that was stable just before it would be cleared is cleared in its time": """
        at 0 ais on tg2/3
        at 2 ais off tg2/3
        at 4 ais on tg2/3
        at 6 ais off tg2/3
        at 8 ais on tg2/3
        at 10 ais off tg2/3
        at 12 ais on tg2/3
        at 14 ais off tg2/3
        at 16 ais on tg2/3
        at 18 ais off tg2/3
        at 20 ais on tg2/3
        within 20 20 flapping ais tg2/3
        at 315 ais off tg2/3        # stable at 320
        within 325 325 cleared ais tg2/3
    """,
    "an alarm that comes on now and then does not flap": """
        at 0 ais on tg2/3
        at 1 ais off tg2/3
        at 100 ais on tg2/3
        at 101 ais off tg2/3
        at 200 ais on tg2/3
        at 201 ais off tg2/3
        at 300 ais on tg2/3
        at 301 ais off tg2/3
        at 400 ais on tg2/3
        at 401 ais off tg2/3
        at 500 ais on tg2/3
        at 501 ais off tg2/3
    """,
    "a cause that flaps holds back what follows until it is stable": """
        at 0 los,lof on tg2/3
        at 1 los off tg2/3
        at 1.1 los on tg2/3
        at 2 los off tg2/3
        at 2.1 los on tg2/3
        at 3 los off tg2/3
        at 3.1 los on tg2/3
        at 4 los off tg2/3
        at 4.1 los on tg2/3
        at 5 los off tg2/3
        at 5.1 los on tg2/3
        within 3 3 raised lof tg2/3      # los is off again, and was no alarm yet
        within 5.1 5.1 flapping los tg2/3
        at 6 los off tg2/3
        at 7 rai on tg2/3
        at 20 lof off tg2/3
        within 30 30 cleared lof tg2/3
        within 305.1 305.1 cleared los tg2/3
        within 305.1 305.1 raised rai tg2/3
        at 400 rai off tg2/3
        within 410 410 cleared rai tg2/3
    """,
    "a window that is moved elsewhere tells what it hid": """
        at 1 window night tg2 until 100
        at 10 rai on tg2/5
        at 20 window night tg1 until 100
        within 20 20 raised rai tg2/5
        at 50 rai off tg2/5
        within 60 60 cleared rai tg2/5
    """,
    "maintenance of a gateway covers its spans, and its end tells what is still wrong": """
        at 1 window night tg2 until 100
        at 10 los on tg2/3
        at 20 los on tg2/4
        at 30 los off tg2/4
        within 100 100 raised los tg2/3
        at 200 los off tg2/3
        within 210 210 cleared los tg2/3
    """,
    "a window that ends early tells at once, and hides no clear": """
        at 1 los on tg2/3
        within 3.5 3.5 raised los tg2/3
        at 10 window night tg2 until 100
        at 20 rai on tg2/5
        at 21 los off tg2/3
        within 31 31 cleared los tg2/3
        at 40 end night
        within 40 40 raised rai tg2/5
        at 50 rai off tg2/5
        within 60 60 cleared rai tg2/5
    """,
    "a cause inside a window holds its consequences back until both are over": """
        at 1 window night tg2/3 until 50
        at 2 los,lof on tg2/3
        at 20 los off tg2/3
        within 50 50 raised lof tg2/3
        at 60 lof off tg2/3
        within 70 70 cleared lof tg2/3
    """,
    "an acknowledgement sends nothing": """
        at 1 los on tg2/3
        within 3.5 3.5 raised los tg2/3
        at 10 ack los tg2/3 by anna
        at 60 los off tg2/3
        within 70 70 cleared los tg2/3
    """,
    "a loss takes its trunk out at once, and back after all was well for a while": """
        at 2.2 los on tg1/3
        within 2.2 2.2 carrier-b out 0
        within 4.7 5.0 raised los tg1/3
        at 8 los unknown tg1/3
        at 10 ais on tg1/3
        within 10 10 carrier-b out 0
        at 20 los off tg1/3
        within 20 20 carrier-b out 0
        within 30 30 cleared los tg1/3
        within 30 30 raised ais tg1/3
        at 40 ais off tg1/3
        at 45 ais unknown tg1/3
        within 50 50 carrier-b in 30
        within 50 50 cleared ais tg1/3
    """,
    "a trunk with a span left stays in with fewer channels": """
        at 1 d_channel_down on tg1/1
        within 1 1 carrier-a partial 30
        within 3.5 3.5 raised d_channel_down tg1/1
        at 5 errored_seconds on tg1/2
        within 5 5 carrier-a out 0
        within 7.5 7.5 raised errored_seconds tg1/2
        at 20 d_channel_down off tg1/1
        within 30 30 cleared d_channel_down tg1/1
        within 30 30 carrier-a partial 30
        at 40 errored_seconds off tg1/2
        within 50 50 cleared errored_seconds tg1/2
        within 50 50 carrier-a in 60
    """,
    "a channel out of service is one channel less": """
        at 1 out_of_service on tg1/3/17
        within 1 1 carrier-b partial 29
        within 3.5 3.5 raised out_of_service tg1/3/17
        at 10 out_of_service off tg1/3/17
        within 20 20 carrier-b in 30
        within 20 20 cleared out_of_service tg1/3/17
    """,
    "a monitor that cannot see takes no trunk out": """
        at 1 unreachable on tg1
        within 3.5 3.5 raised unreachable tg1
        at 2 los,ais,lof,d_channel_down,errored_seconds unknown tg1/3
        at 60 unreachable off tg1
        within 70 70 cleared unreachable tg1
    """,
    "a glitch that is no alarm still takes the trunk out": """
        at 1 lof on tg1/3
        within 1 1 carrier-b out 0
        at 2 lof off tg1/3
        within 12 12 carrier-b in 30
    """,
    "a fault that comes back before the trunk does keeps it out": """
        at 1 lof on tg1/3
        within 1 1 carrier-b out 0
        at 2 lof off tg1/3
        at 8 lof on tg1/3
        within 10.5 10.5 raised lof tg1/3
        at 30 lof off tg1/3
        within 40 40 cleared lof tg1/3
        within 40 40 carrier-b in 30
    """,
    "a span that flaps stays out until it is stable": """
        at 0.1 los on tg1/3
        within 0.1 0.1 carrier-b out 0
        at 1 los off tg1/3
        at 2 los on tg1/3
        at 3 los off tg1/3
        at 4 los on tg1/3
        at 5 los off tg1/3
        at 6 los on tg1/3
        at 7 los off tg1/3
        at 8 los on tg1/3
        at 9 los off tg1/3
        at 10 los on tg1/3
        within 10 10 flapping los tg1/3
        at 11 los off tg1/3
        within 310 310 cleared los tg1/3
        within 310 310 carrier-b in 30
    """,
    "a busy trunk follows from its spans only if none is left": """
        at 1 los on tg1/1
        within 1 1 carrier-a partial 30
        within 3.5 3.5 raised los tg1/1
        at 5 trunk_busy on trunk:carrier-a
        within 7.5 7.5 raised trunk_busy trunk:carrier-a
        at 10 trunk_busy off trunk:carrier-a
        within 20 20 cleared trunk_busy trunk:carrier-a
        at 330 los on tg1/2
        within 330 330 carrier-a out 0
        within 332.5 332.5 raised los tg1/2
        at 340 trunk_busy on trunk:carrier-a
        at 360 los off tg1/1
        within 370 370 cleared los tg1/1
        within 370 370 carrier-a partial 30
        within 370 370 raised trunk_busy trunk:carrier-a
        at 380 trunk_busy off trunk:carrier-a
        at 380 los off tg1/2
        within 390 390 cleared trunk_busy trunk:carrier-a
        within 390 390 cleared los tg1/2
        within 390 390 carrier-a in 60
    """,
    "a gateway that nobody watches is no alarm": """
        at 1 los on tg9/1
    """,
    "a condition that only a newer version knows is an alarm": """
        at 1 fan_stopped on tg2
        within 3.5 3.5 raised fan_stopped tg2
        at 10 fan_stopped off tg2
        within 20 20 cleared fan_stopped tg2
    """,
}
