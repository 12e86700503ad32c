# The settings of a drill: those of the project, over a scratch database, and with nothing that reaches out.
import importlib
import os

_project = importlib.import_module(os.environ["CADDY_BACKUP_SETTINGS"])
globals().update({name: getattr(_project, name) for name in dir(_project) if name.isupper()})

_alias, _name = os.environ["CADDY_BACKUP_ALIAS"], os.environ["CADDY_BACKUP_SCRATCH"]
DATABASES = {name: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for name in ["default", *_project.DATABASES]}
if os.path.isabs(_name):
    DATABASES[_alias] = {"ENGINE": "django.db.backends.sqlite3", "NAME": _name}
else:  # a database of its own on the same server
    DATABASES[_alias] = dict(_project.DATABASES[_alias], NAME=_name, CONN_MAX_AGE=0)
DATABASE_ROUTERS = []

EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
CACHES = {name: {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": name}
          for name in ["default", *getattr(_project, "CACHES", {})]}
CHANNEL_LAYERS = {}
BROKER_URL = CELERY_BROKER_URL = "memory://"
CELERY_RESULT_BACKEND = "cache+memory://"
CELERY_TASK_ALWAYS_EAGER = CELERY_ALWAYS_EAGER = False


class _NoMigrations:
    """Has tables made from the models: migrations may hold what only the project's own database can."""

    def __contains__(self, app):
        return True

    def __getitem__(self, app):
        return None


MIGRATION_MODULES = _NoMigrations()
