"""Marks for submitted notebooks: `minimistral marks FOLDER`.

A learner's function and the check that judges it never share a process. The function runs in a
worker (`worker.py`), which is cut off from the network and from other people's files where the
system can do that (`fence.py`). The check runs in the marking process and calls the function
through a channel (`channel.py`), on which a worker can only send plain data (`plain.py`). So
whatever a submission prints, patches or writes, it can only return values, and those are judged.

This is no sandbox against hostile code. A worker runs as the same user, and where the system has
no fence it can do what that user can. Mark submissions of people you do not know in a container.
"""
