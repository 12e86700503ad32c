package backup

import (
	"path"
	"strings"
)

// Form is what a part is to those who bring it back without us: it says which programs that takes.
type Form string

// The forms of the parts that our sources make.
const (
	FormArchive  Form = "archive"  // of pg_dump
	FormPostgres Form = "postgres" // a script for psql
	FormRoles    Form = "roles"    // a script of pg_dumpall
	FormMySQL    Form = "mysql"    // a script for mariadb or mysql
	FormUsers    Form = "users"    // such a script, of users and their rights
	FormSQLite   Form = "sqlite"   // a database
	FormFixture  Form = "fixture"  // for manage.py loaddata
	FormFolder   Form = "folder"
	FormCaddy    Form = "caddy"
	FormOther    Form = "other"
)

// FormOf tells the form of a part by the kind of its source and its name.
func FormOf(kind string, p Part) Form {
	globals := strings.HasSuffix(p.Name, ".globals-only.sql")
	switch extension := path.Ext(p.Name); {
	case kind == "caddy":
		return FormCaddy
	case p.Folder:
		return FormFolder
	case kind == "sqlite" || extension == ".sqlite3" && kind == "django":
		return FormSQLite
	case kind == "mysql" && globals:
		return FormUsers
	case kind == "mysql":
		return FormMySQL
	case kind == "postgres" && globals:
		return FormRoles
	case kind == "postgres" && extension == ".sql":
		return FormPostgres
	case kind == "postgres" || kind == "django" && extension == ".dump":
		return FormArchive
	case kind == "django" && extension == ".sql":
		return FormMySQL
	case kind == "django":
		return FormFixture
	}
	return FormOther
}
