# cython: language_level=3, boundscheck=False
"""One try of an exchange on a paced line without waking the interpreter in between: see `pacing`."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, errno
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, clock_nanosleep, timespec
from posix.unistd cimport read, write

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int POLLIN
    int ppoll(pollfd* fds, unsigned long nfds, const timespec* timeout, const void* sigmask)

cdef enum:
    ROOM = 4096

cdef double SHORT_S = 0.2


cdef double now_s() noexcept nogil:
    cdef timespec moment
    clock_gettime(CLOCK_MONOTONIC, &moment)
    return moment.tv_sec + moment.tv_nsec * 1e-9


cdef int wait_until(int wake, double due_s) noexcept nogil:
    """0 when it is time, 1 when `wake` became readable before. A short wait is a sleep from which nothing wakes: it takes less."""
    cdef pollfd waited
    cdef timespec left
    cdef double left_s
    waited.fd, waited.events = wake, POLLIN
    while True:
        left_s = due_s - now_s()
        if left_s <= 0:
            return 0
        left.tv_sec = <long>left_s
        left.tv_nsec = <long>((left_s - left.tv_sec) * 1e9)
        if left_s < SHORT_S:
            clock_nanosleep(CLOCK_MONOTONIC, 0, &left, NULL)
        elif ppoll(&waited, 1, &left, NULL) > 0:
            return 1


def exchange_paced(int port, int wake, bytes request, double speak_at_s, double travel_s):
    cdef char[ROOM] buffer
    cdef const char* octets = request
    cdef ssize_t length = len(request)
    cdef ssize_t count = 0
    cdef ssize_t written = 0
    cdef double sent_s = 0.0
    cdef double read_s
    with nogil:
        if wait_until(wake, speak_at_s) == 0:
            count = read(port, buffer, ROOM)
            if count < 0 and errno == EAGAIN:
                written = write(port, octets, length)
                sent_s = now_s()
                if written == length and wait_until(wake, sent_s + travel_s) == 0:
                    count = read(port, buffer, ROOM)
        read_s = now_s()
    return written, PyBytes_FromStringAndSize(buffer, count if count > 0 else 0), sent_s, read_s
