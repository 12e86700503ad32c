# What the source django asks of a project, in one function, since "manage.py shell -c" of old versions runs code inside of one.
# It is told what to do by the environment, and answers in one line behind a mark: what else a project prints is not ours.
def caddy_backup():
    import json
    import os
    import sys

    import django
    from django.apps import apps
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connections, transaction

    asked = json.loads(os.environ["CADDY_BACKUP"])
    alias = asked["database"]

    def tell(answer):
        sys.stdout.write("\n" + asked["mark"] + json.dumps(answer, default=str) + "\n")
        sys.stdout.flush()

    def models(labels):
        """All models that a fixture of these apps or models holds, with the tables between them. Of what is left out there is no
        dump: nobody else may delete it."""
        left_out = set()
        for label in asked["exclude"]:
            left_out.update([apps.get_model(label)] if "." in label else apps.get_app_config(label).get_models())
        found = []
        for label in labels or [config.label for config in apps.get_app_configs()]:
            app, _, name = label.partition(".")
            config = apps.get_app_config(app)
            for model in [config.get_model(name)] if name else config.get_models():
                if model in left_out:
                    continue
                if model._meta.managed and not model._meta.proxy and not model._meta.swapped:
                    found.append(model)
                    found.extend(field.remote_field.through for field in model._meta.local_many_to_many
                                 if field.remote_field.through._meta.auto_created)
        return found

    def count(labels):
        return {model._meta.label_lower: model._base_manager.using(alias).count()
                for model in models(labels) if not model._meta.auto_created}

    def info():
        problems = []
        for label in asked["apps"]:
            app, _, name = label.partition(".")
            try:
                config = apps.get_app_config(app)
                if name:
                    config.get_model(name)
                elif not list(config.get_models()):
                    problems.append("app '%s' has no models, so there is nothing to dump" % label)
            except LookupError as error:
                problems.append(str(error))
        if alias not in settings.DATABASES:
            problems.append("there is no database '%s' in DATABASES" % alias)
            return {"problems": problems}
        conf = connections[alias].settings_dict
        return {
            "django": django.get_version(), "problems": problems, "settings": os.environ.get("DJANGO_SETTINGS_MODULE", ""),
            "media": str(settings.MEDIA_ROOT or ""), "vendor": connections[alias].vendor,
            "database": {key.lower(): conf.get(key) for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")},
        }

    def empty(labels):
        connection = connections[alias]
        with connection.cursor() as cursor:
            for model in models(labels):
                cursor.execute("DELETE FROM " + connection.ops.quote_name(model._meta.db_table))

    def load():
        """Puts a fixture from the standard input into the place of what the apps hold, or over it, in one transaction."""
        connection = connections[alias]
        # Before the transaction: SQLite takes it only there.
        with connection.constraint_checks_disabled():
            with transaction.atomic(using=alias):
                if asked["empty"]:
                    empty(asked["apps"])
                call_command("loaddata", "-", format=asked["format"], database=alias, verbosity=0, ignorenonexistent=False)
                connection.check_constraints()
                rows = count(asked["apps"])
                for model, expected in (asked["rows"] or {}).items() if asked["empty"] else ():
                    if rows.get(model) != expected:
                        raise ValueError("%s has %s rows, the dump has %s" % (model, rows.get(model), expected))
        return {"rows": rows}

    def drill():
        for name in connections:  # nothing that follows may meet the project's own
            conf = connections[name].settings_dict
            if connections[name].vendor != "sqlite" or str(conf["NAME"]) != os.environ["CADDY_BACKUP_SCRATCH"]:
                raise ValueError("database '%s' is not the scratch one: %s" % (name, connections[name].vendor))
        connection = connections[alias]
        call_command("migrate", run_syncdb=True, verbosity=0, interactive=False, database=alias)
        with connection.constraint_checks_disabled():
            empty(asked["apps"])  # what the signals behind it have made is in the fixture too
        # What refers to rows of apps that were not dumped finds none.
        connection.check_constraints = lambda table_names=None: None
        loaded = load()
        ours = {model._meta.db_table for model in models(asked["apps"])}
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA foreign_key_check")
            for table, _, parent, _ in cursor.fetchall():
                if parent in ours:
                    raise ValueError("a row of %s refers to one of %s that is not there" % (table, parent))
        return loaded

    tell({"info": info, "load": load, "drill": drill}[asked["what"]]())


caddy_backup()
