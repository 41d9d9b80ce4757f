"""How passwords are stored."""

from threading import Semaphore

from django.contrib.auth.hashers import Argon2PasswordHasher

#: Passwords that a process hashes at once; each takes 100 MB as long as it lasts.
AT_ONCE = 2

_free = Semaphore(AT_ONCE)


class PasswordHasher(Argon2PasswordHasher):
    """Argon2 as Django has it; forty sign-ins at once would take 4 GB, so the others wait."""

    def encode(self, password: str, salt: str) -> str:
        """Hash a password."""
        with _free:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Whether a password is the one that was hashed."""
        with _free:
            return super().verify(password, encoded)
