# What the source django asks of a project, in one function, since "manage.py shell -c" of old versions runs code inside of one.
# It is told what to do by the environment, and answers in one line behind a mark: what else a project prints is not ours.
def caddy_backup():
    import datetime
    import json
    import os
    import re
    import sys

    import django
    from django.apps import apps
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.files.storage import FileSystemStorage
    from django.core.management import call_command
    from django.core.serializers import base, xml_serializer
    from django.core.serializers.json import DjangoJSONEncoder
    from django.db import connections, router, transaction
    from django.db.migrations.executor import MigrationExecutor
    from django.db.models import signals
    from django.utils.module_loading import import_string
    from django.utils.xmlutils import SimplerXMLGenerator

    asked = json.loads(os.environ["CADDY_BACKUP"])
    alias = asked["database"]

    def tell(answer):
        sys.stdout.write("\n" + asked["mark"] + json.dumps(answer, default=str) + "\n")
        sys.stdout.flush()

    def labelled(label):
        """The models of "app" or "app.Model"."""
        app, _, name = label.partition(".")
        config = apps.get_app_config(app)
        return [config.get_model(name)] if name else list(config.get_models())

    def models(labels):
        """All models of which a fixture of these apps or models holds rows. Of what is left out there is no dump: nobody else may
        delete it; nor what the routers have in another database, where there are no such tables here."""
        left_out = {model for label in asked["exclude"] for model in labelled(label)}
        found = []
        for label in labels or [config.label for config in apps.get_app_configs()]:
            for model in labelled(label):
                if not model._meta.proxy and not model._meta.swapped and model not in left_out and model not in found \
                        and router.allow_migrate_model(alias, model):
                    found.append(model)
        return found

    def with_between(found):
        """Models, and those that Django makes for the tables between them."""
        return found + [field.remote_field.through for model in found for field in model._meta.local_many_to_many
                        if field.remote_field.through._meta.auto_created]

    def tables(found):
        return [model._meta.db_table for model in with_between(found)]

    def count(found):
        return {model._meta.label_lower: model._base_manager.using(alias).count() for model in found}

    def views(connection):
        """Models on views of the database: their rows are those of other tables, and nobody can put them back."""
        unmanaged = [model for model in models([]) if not model._meta.managed]
        if not unmanaged:
            return []
        with connection.cursor() as cursor:
            names = {table.name for table in connection.introspection.get_table_list(cursor) if table.type in "vm"}
        return [model._meta.label for model in unmanaged if model._meta.db_table in names]

    def connected(connection):
        """What only the database can tell."""
        with connection.cursor() as cursor:  # also shows that it can be reached
            if connection.vendor == "mysql":
                cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() "
                               "AND table_type = 'BASE TABLE' AND engine <> 'InnoDB'")
                unsafe = {row[0] for row in cursor.fetchall()}.intersection(tables(models(asked["apps"])))
            else:
                unsafe = set()
            journal = ""
            if connection.vendor == "sqlite":
                cursor.execute("PRAGMA journal_mode")
                journal = cursor.fetchone()[0]
        return {"views": views(connection), "unsafe": sorted(unsafe), "journal": journal, "unapplied": unapplied(connection),
                "cascades": cascades(connection)}

    def unapplied(connection):
        """Migrations that the database has not seen: the models are newer than their tables."""
        labels = {label.partition(".")[0] for label in asked["apps"]}
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        return [str(migration) for migration, _ in plan if not labels or migration.app_label in labels]

    def restored(connection):
        """The models whose rows a restore puts back."""
        return [model for model in models(asked["apps"]) if model._meta.label not in views(connection)]

    def cascades(connection):
        """Tables with rows that the server itself would change, for good, when the rows go that a restore deletes first: they are in
        no dump. Of the others no foreign key does anything while a fixture is loaded."""
        if connection.vendor != "postgresql":
            return []
        quote, ours = connection.ops.quote_name, tables(restored(connection))
        with connection.cursor() as cursor:
            cursor.execute("WITH ours AS (SELECT to_regclass(name) AS name FROM unnest(%s::text[]) AS x (name)) "
                           "SELECT DISTINCT conrelid::regclass::text, has_table_privilege(conrelid, 'SELECT') "
                           "AND has_schema_privilege(relnamespace, 'USAGE') AND NOT row_security_active(conrelid) "
                           "FROM pg_constraint JOIN pg_class c ON c.oid = conrelid WHERE contype = 'f' AND confdeltype IN ('c', 'n', 'd') "
                           "AND confrelid IN (SELECT name FROM ours) AND NOT conrelid IN (SELECT name FROM ours WHERE name IS NOT NULL)",
                           [[quote(table) for table in ours]])
            found = []
            for table, readable in cursor.fetchall():
                if readable:
                    cursor.execute("SELECT EXISTS (SELECT FROM %s)" % table)
                if not readable or cursor.fetchone()[0]:
                    found.append(table)
        return sorted(found)

    def unreadable():
        """The first model that cannot be read: most often no other can, either."""
        for model in models(asked["apps"]):
            try:
                model._base_manager.using(alias).values("pk").first()
            except Exception as error:
                return ["%s cannot be read: %s" % (model._meta.label, str(error).strip().partition("\n")[0])]
        return []

    def unnatural():
        """Models that others refer to by a natural key by which nobody finds them again."""
        referred = {field.remote_field.model for model in models(asked["apps"])
                    for field in model._meta.local_fields + model._meta.local_many_to_many if field.remote_field}
        return ["natural_keys: %s has a natural_key, but its manager no get_by_natural_key, so that nothing could load the fixture: add one, "
                "or leave natural_keys out" % label for label in sorted(
                    model._meta.label for model in referred
                    if hasattr(model, "natural_key") and not hasattr(model._default_manager, "get_by_natural_key"))]

    def database(connection):
        """What the project hands to its driver, with what that takes from elsewhere: from the environment, the files and the home of
        the project's user, which are not ours."""
        conf = {key.lower(): connection.settings_dict.get(key) for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")}
        options = conf["options"] = dict(conf["options"] or {})
        if connection.vendor == "postgresql":
            service(conf, options)
            for key, name in (("host", "HOST"), ("port", "PORT"), ("user", "USER"), ("password", "PASSWORD")):
                if not conf[key] and "service" not in options:
                    conf[key] = os.environ.get("PG" + name, "")
            for key, name in (("service", "PGSERVICE"), ("sslmode", "PGSSLMODE"), ("sslrootcert", "PGSSLROOTCERT"),
                              ("passfile", "PGPASSFILE")):
                if os.environ.get(name):
                    options.setdefault(key, os.environ[name])
            if not conf["password"] and os.path.exists(os.path.expanduser("~/.pgpass")):
                options.setdefault("passfile", os.path.expanduser("~/.pgpass"))
            absolute(options, "passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir")
        elif connection.vendor == "mysql":
            option_file(conf, options)
            if isinstance(options.get("ssl"), dict):
                absolute(options["ssl"], "ca", "cert", "key")
            if conf["host"] == "localhost" and connection.Database.__name__ != "pymysql":
                conf["host"] = conf["port"] = ""  # its driver takes the socket then, whatever the port
        return conf

    def absolute(options, *keys):
        """Paths that count from the folder of manage.py."""
        for key in keys:
            if options.get(key) and options[key] != "system":
                options[key] = os.path.abspath(options[key])

    def sections(path, names):
        """The lines "key = value" below these names in brackets."""
        with open(path) as lines:
            inside = False
            for line in map(str.strip, lines):
                if line.startswith("["):
                    inside = line.strip("[]") in names
                elif inside and line and line[0] not in "#;":
                    key, _, value = line.partition("=")
                    yield key.strip(), value.strip()

    def service(conf, options):
        """Puts what the project's service file says into the place of the service's name."""
        path = os.environ.get("PGSERVICEFILE") or os.path.expanduser("~/.pg_service.conf")
        name = options.get("service") or os.environ.get("PGSERVICE")
        if not name or not os.access(path, os.R_OK):
            return
        words = dict(sections(path, [name]))
        if words:
            options.pop("service", None)
            os.environ.pop("PGSERVICE", None)
            for key, value in words.items():
                if not conf.get("name" if key == "dbname" else key):
                    options.setdefault(key, value)

    def option_file(conf, options):
        """Puts what the option file says into the places where DATABASES says nothing."""
        path = options.get("read_default_file")
        if not path or not os.access(path, os.R_OK):
            return
        del options["read_default_file"]
        for key, value in sections(path, ["client", options.pop("read_default_group", "client")]):
            key, value = key.replace("-", "_"), value.strip("'\"")
            if key in ("host", "user", "password", "port", "database"):
                key = "name" if key == "database" else key
                conf[key] = conf[key] or value
            elif key == "socket":
                options.setdefault("unix_socket", value)
            elif key == "ssl_mode":
                options.setdefault(key, value)
            elif key in ("ssl_ca", "ssl_cert", "ssl_key"):
                options.setdefault("ssl", {}).setdefault(key[4:], value)

    def elsewhere():
        """The class of the storage of files, when that is not in MEDIA_ROOT."""
        path = getattr(settings, "STORAGES", {}).get("default", {}).get("BACKEND") or getattr(settings, "DEFAULT_FILE_STORAGE", "")
        try:
            return "" if issubclass(import_string(path), FileSystemStorage) else path
        except Exception:  # it will say so itself
            return path

    def info():
        problems = []
        for label in asked["apps"] + asked["exclude"]:
            try:
                if not labelled(label) and label in asked["apps"]:
                    problems.append("app '%s' has no models, so there is nothing to dump" % label)
            except LookupError as error:
                problems.append(str(error))
        if asked["natural"] and not problems:
            problems.extend(unnatural())
        if alias not in settings.DATABASES:
            problems.append("there is no database '%s' in DATABASES" % alias)
            return {"problems": problems}
        connection = connections[alias]
        told = {
            "django": django.get_version(), "problems": problems, "settings": os.environ.get("DJANGO_SETTINGS_MODULE", ""),
            "configuration": os.environ.get("DJANGO_CONFIGURATION", ""),  # of the package django-configurations
            "media": str(settings.MEDIA_ROOT or ""), "elsewhere": elsewhere(), "vendor": connection.vendor,
            "apps": sorted(config.label for config in apps.get_app_configs() if list(config.get_models())),
        }
        if asked["connect"] and not problems:
            told.update(connected(connection))
            if asked["look"]:
                problems.extend(unreadable())
        if asked["secrets"]:
            told["database"] = database(connection)
        return told

    def dump():
        """Writes a fixture of one moment to the standard output."""
        connection = connections[alias]
        if connection.vendor == "sqlite":
            connection.transaction_mode = None  # only reading: nobody is to wait for more than that
        if connection.vendor == "mysql":
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with transaction.atomic(using=alias):
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            call_command("dumpdata", *asked["apps"], format=asked["format"], indent=asked["indent"] or None, database=alias,
                         exclude=asked["exclude"], use_natural_foreign_keys=asked["natural"],
                         # Rows keep their numbers: sessions, generic relations and other systems hold them.
                         use_natural_primary_keys=False,
                         use_base_manager=True)  # also what a model's own manager hides

    def quietly():
        """From here on no handler of the project hears of what is saved: it would send mails, start tasks, or make rows that are in
        the fixture already."""
        for signal in (signals.pre_save, signals.post_save, signals.pre_delete, signals.post_delete, signals.m2m_changed):
            signal.receivers = []
            signal.sender_receivers_cache.clear()

    def complete():
        """From here on a fixture must know all fields of its models: what it does not know would get the default, silently."""
        build = base.build_instance

        def build_complete(model, data, using):
            for field in model._meta.local_concrete_fields:
                if field.serialize and not field.remote_field and not field.primary_key and field.name not in data \
                        and not getattr(field, "generated", False):
                    raise base.DeserializationError("the fixture does not know the field '%s' of %s: it is older than that field"
                                                    % (field.name, model._meta.label))
            return build(model, data, using)

        base.build_instance = build_complete

    def exact():
        """As Django writes JSON, times lose their microseconds; as it writes and reads XML, texts lose their carriage returns, and the
        white space around them."""
        default, characters, inner = DjangoJSONEncoder.default, SimplerXMLGenerator.characters, xml_serializer.getInnerText

        class Exact(str):
            def strip(self):
                return str(self)

        def with_microseconds(self, value):
            if isinstance(value, datetime.datetime) or isinstance(value, datetime.time) and value.tzinfo is None:
                return re.sub(r"\+00:00$", "Z", value.isoformat())
            return default(self, value)

        def with_returns(self, content):
            for i, text in enumerate(content.split("\r")):
                if i:
                    self.ignorableWhitespace("&#13;")  # is written as it stands
                characters(self, text)

        DjangoJSONEncoder.default = with_microseconds
        SimplerXMLGenerator.characters = with_returns
        xml_serializer.getInnerText = lambda node: Exact(inner(node))

    def empty(connection, found):
        with connection.cursor() as cursor:
            for table in tables(found):
                cursor.execute("DELETE FROM " + connection.ops.quote_name(table))

    def load_fixture(connection, found):
        """Reads the fixture from the standard input into the database. Of PostgreSQL's sequences no transaction takes back what was
        done to them, so that they only ever go up here: should all be undone, the numbers of what is there are still taken."""
        if connection.vendor == "postgresql":
            connection.ops.sequence_reset_sql = lambda style, models: []
        call_command("loaddata", "-", format=asked["format"], database=alias, verbosity=0, ignorenonexistent=False)
        connection.check_constraints()
        if connection.vendor == "postgresql":
            for model in with_between(found):
                if model._meta.auto_field:
                    raise_sequence(connection, model._meta.db_table, model._meta.auto_field.column)

    def raise_sequence(connection, table, column):
        quote = connection.ops.quote_name
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT setval(name, highest) FROM (SELECT pg_get_serial_sequence(%%s, %%s)::regclass AS name, "
                "(SELECT max(%s) FROM %s) AS highest) AS x WHERE highest > coalesce(pg_sequence_last_value(name), 0)"
                % (quote(column), quote(table)), [quote(table), column])

    def vouched():
        """Whether all of the fixture came, and is what was dumped: told by who gives it, when he knows. Should he be killed,
        the standard input ends too, but without that."""
        return os.read(3, 16) == b"whole"

    def load():
        """Puts a fixture into the place of what the apps hold, or over it, in one transaction."""
        connection = connections[alias]
        found = restored(connection)
        quietly()
        if not asked["force"]:
            complete()
        # Before the transaction: SQLite takes it only there.
        with connection.constraint_checks_disabled():
            with transaction.atomic(using=alias):
                if asked["empty"]:
                    hold(connection, found)
                    others = cascades(connection)
                    if others:
                        raise ValueError("rows of others would go with those that are deleted first: " + ", ".join(others))
                    empty(connection, found)
                load_fixture(connection, found)
                rows = count(found)
                if asked["empty"] and asked["rows"]:
                    compare(asked["rows"], rows)
                if not vouched():
                    raise ValueError("the fixture did not come whole")
                tell({"committing": True})
        return {"rows": rows}

    def hold(connection, found):
        """Keeps others from writing meanwhile, where that is not so anyway; they can read."""
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '60s'")
                for table in tables(found):
                    cursor.execute("LOCK TABLE " + connection.ops.quote_name(table) + " IN SHARE ROW EXCLUSIVE MODE")

    def compare(dumped, rows):
        for model in sorted(set(dumped) | set(rows)):
            if model not in rows:
                raise ValueError("%s is in the fixture, but the source leaves it out now, or the project does not have it" % model)
            if rows[model] != dumped.get(model, 0):
                raise ValueError("%s has %d rows, the dump has %d" % (model, rows[model], dumped.get(model, 0)))

    def drill():
        """Makes the tables of all models in a scratch database, and loads a fixture into them."""
        for name in connections:  # nothing that follows may meet the project's own
            conf = connections[name].settings_dict
            scratch = os.environ["CADDY_BACKUP_SCRATCH"] if name == alias else ":memory:"
            if str(conf["NAME"]) != scratch or name != alias and connections[name].vendor != "sqlite":
                raise ImproperlyConfigured("database '%s' is not the scratch one: %s" % (name, connections[name].vendor))
        connection = connections[alias]
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT current_database()")
                if cursor.fetchone()[0] != os.environ["CADDY_BACKUP_SCRATCH"]:
                    raise ImproperlyConfigured("database '%s' is not the scratch one" % alias)
        found = models(asked["apps"])
        found.extend(model for label in sorted(asked["rows"] or ()) for model in labelled(label) if model not in found)
        quietly()
        complete()
        arrange(connection, found)
        call_command("migrate", run_syncdb=True, verbosity=0, interactive=False, database=alias)
        if connection.vendor == "postgresql":
            strangers(connection, found)
        else:
            # What refers to rows of apps that were not dumped finds none.
            connection.check_constraints = lambda table_names=None: None
        with connection.constraint_checks_disabled():
            with transaction.atomic(using=alias):
                empty(connection, found)  # what was made with the tables is in the fixture too
                load_fixture(connection, found)
                rows = count(found)
                if not vouched():
                    raise ValueError("the fixture did not come whole")
        if connection.vendor == "sqlite":
            dangling(connection, found)
        return {"rows": rows}

    def arrange(connection, found):
        """Has tables made of all models that may be needed, also of those that Django leaves to others."""
        made = {model._meta.db_table for model in apps.get_models() if model._meta.managed}
        for model in apps.get_models():
            if not model._meta.managed and model._meta.db_table not in made:
                model._meta.managed = True
                made.add(model._meta.db_table)
            if connection.vendor == "sqlite":
                def only_postgres(part):
                    return type(part).__module__.startswith("django.contrib.postgres")
                model._meta.indexes = [index for index in model._meta.indexes if not only_postgres(index)]
                model._meta.constraints = [constraint for constraint in model._meta.constraints if not only_postgres(constraint)]
                if model not in found and any(map(only_postgres, model._meta.local_fields)):
                    model._meta.managed = False

    def strangers(connection, found):
        """Takes the constraints away that refer to what was not dumped."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT conrelid::regclass, quote_ident(conname) FROM pg_constraint JOIN pg_class ON pg_class.oid = confrelid "
                           "WHERE contype = 'f' AND NOT relname = ANY (%s)", [tables(found)])
            for table, name in cursor.fetchall():
                cursor.execute("ALTER TABLE %s DROP CONSTRAINT %s" % (table, name))

    def dangling(connection, found):
        ours = tables(found)
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA foreign_key_check")
            for table, _, parent, _ in cursor.fetchall():
                if parent in ours:
                    raise ValueError("a row of %s refers to one of %s that is not there" % (table, parent))

    exact()
    if asked["what"] == "dump":
        dump()
    else:
        tell({"info": info, "load": load, "drill": drill}[asked["what"]]())
    connections.close_all()
    sys.stdout.flush()


import os
import sys
import traceback

status = 1
try:
    caddy_backup()
    status = 0
except BaseException:
    traceback.print_exc()
sys.stderr.flush()
os._exit(status)  # whatever threads the project has begun: they may go on for ever
