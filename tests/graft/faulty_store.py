"""A store that misbehaves as told: replies get lost before or after landing, reads fail, somebody is faster."""

from pagestore.errors import StoreUnavailable


class FaultyStore:
    """An `ObjectStore` over another one; ``faults`` maps the name of a method to what its next calls do.

    A fault is called with the inner method and its arguments, in place of the call.
    """

    def __init__(self, inner):
        self.inner = inner
        self.faults = {}
        self.down = False

    def fail_next(self, method, fault, *, key_part=""):
        """The next call of a method whose key contains ``key_part`` goes through ``fault``."""
        self.faults.setdefault(method, []).append((key_part, fault))

    @property
    def url(self):
        return self.inner.url

    @property
    def parallelism(self):
        return self.inner.parallelism

    def get(self, key):
        return self._call("get", key)

    def get_range(self, key, start, length):
        return self._call("get_range", key, start, length)

    def put(self, key, data):
        return self._call("put", key, data)

    def put_if_absent(self, key, data):
        return self._call("put_if_absent", key, data)

    def put_stream(self, key, chunks):
        return self._call("put_stream", key, chunks)

    def list(self, prefix, **options):
        return self._call("list", prefix, **options)

    def delete(self, key):
        return self._call("delete", key)

    def delete_many(self, keys):
        if self.down:
            raise StoreUnavailable(f"{self.url} is down")
        waiting = self.faults.get("delete_many", [])
        for position, (key_part, fault) in enumerate(waiting):
            if any(key_part in key for key in keys):
                del waiting[position]
                return fault(self.inner.delete_many, keys)
        return self.inner.delete_many(keys)

    def unfinished_uploads(self, prefix=""):
        return self._call("unfinished_uploads", prefix)

    def abort_upload(self, upload):
        self.inner.abort_upload(upload)

    def close(self):
        self.inner.close()

    def _call(self, method, key, *arguments, **options):
        if self.down:
            raise StoreUnavailable(f"{self.url} is down")
        waiting = self.faults.get(method, [])
        for position, (key_part, fault) in enumerate(waiting):
            if key_part in key:
                del waiting[position]
                return fault(getattr(self.inner, method), key, *arguments, **options)
        return getattr(self.inner, method)(key, *arguments, **options)


def lost_before(method, *arguments, **options):
    """The request never arrives."""
    raise StoreUnavailable("no route to host")


def lost_after(method, *arguments, **options):
    """The request is carried out; its reply is lost."""
    method(*arguments, **options)
    raise StoreUnavailable("connection reset")


def lost_and_retried(method, *arguments, **options):
    """The request is carried out, its reply is lost, and a client below us tries again."""
    method(*arguments, **options)
    return method(*arguments, **options)


def interrupted(method, *arguments, **options):
    """Ctrl-C while the request is on its way; it lands."""
    method(*arguments, **options)
    raise KeyboardInterrupt


def interrupted_before(method, *arguments, **options):
    """Ctrl-C before the request leaves."""
    raise KeyboardInterrupt


def preceded_by(action):
    """Somebody else acts just before the request arrives."""

    def fault(method, *arguments, **options):
        action()
        return method(*arguments, **options)

    return fault
