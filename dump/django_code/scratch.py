# The settings of a drill: those of the project, over a scratch database.
import importlib
import os

_project = importlib.import_module(os.environ["CADDY_BACKUP_SETTINGS"])
globals().update({name: getattr(_project, name) for name in dir(_project) if name.isupper()})

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["CADDY_BACKUP_SCRATCH"]},
}
DATABASES[os.environ["CADDY_BACKUP_ALIAS"]] = DATABASES["default"]
DATABASE_ROUTERS = []
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"


class _NoMigrations:
    """Has tables made from the models: migrations may hold what only the project's own database can."""

    def __contains__(self, app):
        return True

    def __getitem__(self, app):
        return None


MIGRATION_MODULES = _NoMigrations()
