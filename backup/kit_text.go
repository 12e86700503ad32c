package backup

import (
	"fmt"
	"strings"
	"time"
)

// kitWidth is how many columns a printed page has; only words that are longer by themselves go beyond.
const kitWidth = 80

// Text is the kit as plain text to be printed. Passwords, by the names of the repositories, are printed where they are
// given; else there is a line to write them on.
func (k Kit) Text(passwords map[string]string) string {
	var p kitPage
	title := "RECOVERY KIT of " + k.Host
	made := "made " + k.Made.UTC().Format("2006-01-02 15:04 UTC")
	p.line(title + strings.Repeat(" ", max(kitWidth-len(title)-len(made), 1)) + made)
	p.line(strings.Repeat("=", kitWidth))
	p.text(0, "Print this, or keep it on another machine. With this paper and the password everything that was backed up can be had "+
		"back, on any machine. Without the password nobody can, the makers of these programs included.")
	for _, r := range k.Repositories {
		p.repository(r, passwords[r.Name])
	}
	p.everything(k)
	p.pieces(k)
	return p.b.String()
}

// kitPage writes lines.
type kitPage struct{ b strings.Builder }

func (p *kitPage) line(s string) {
	p.b.WriteString(strings.TrimRight(s, " "))
	p.b.WriteByte('\n')
}

func (p *kitPage) heading(s string) {
	p.line("")
	p.line(s)
	p.line(strings.Repeat("-", len([]rune(s))))
}

// text writes a paragraph, wrapped.
func (p *kitPage) text(indent int, s string) {
	p.wrap(strings.Repeat(" ", indent), "", strings.Fields(s))
}

// command writes a command line, wrapped so that it can be typed, or copied, as it stands.
func (p *kitPage) command(words ...string) { p.wrap("    ", ` \`, words) }

// wrap fills lines with words; each line but the last ends with end, and all but the first are set in a little more where
// there is such an end.
func (p *kitPage) wrap(indent, end string, words []string) {
	line := indent
	for i, w := range words {
		switch {
		case line == indent || strings.TrimSpace(line) == "":
			line += w
		case len([]rune(line))+1+len([]rune(w))+len(end) > kitWidth && i > 0:
			p.line(line + end)
			line = indent
			if end != "" {
				line += "  "
			}
			line += w
		default:
			line += " " + w
		}
	}
	p.line(line)
}

func (p *kitPage) repository(r KitRepository, password string) {
	p.heading("Repository " + r.Name)
	p.field("Location", r.Location)
	p.field("ID", r.ID)
	if r.Problem != "" {
		p.text(2, "It cannot be opened now: "+r.Problem)
	}
	p.field("Read by", resticNeeded(r.Version)+", and by Caddy with caddy-backup")
	switch {
	case r.PasswordFile != "":
		p.field("Password", "in "+r.PasswordFile)
	case r.PasswordFrom != "":
		p.field("Password", "from "+r.PasswordFrom)
	}
	if password == "" {
		p.line("")
		p.line("              " + strings.Repeat("_", kitWidth-16))
		p.line("              (write it here, or where it can be found)")
	} else {
		p.line("              " + password)
	}
	if !r.Confirmed.IsZero() {
		p.field("Confirmed", "saved on "+r.Confirmed.UTC().Format(time.DateOnly))
	}
	if len(r.SameDisk) > 0 {
		p.line("")
		p.text(2, "CAUTION: it lies on the same disk as "+strings.Join(r.SameDisk, ", ")+". It protects against nothing that takes this disk or the machine.")
	}
	for _, j := range r.Jobs {
		p.line("")
		p.line("  Job " + j.Name + ", in the folder /" + j.Name + " of its snapshots:")
		for _, s := range j.Sources {
			p.line(fmt.Sprintf("    %-24s source %s, %s", strings.Join(s.Parts, " "), s.Name, s.Kind))
		}
	}
	if len(r.Jobs) == 0 {
		p.line("")
		p.text(2, "No job writes to it now.")
	}
}

func (p *kitPage) field(name, value string) {
	if value != "" {
		p.line(fmt.Sprintf("  %-10s  %s", name, value))
	}
}

func resticNeeded(version uint) string {
	if version == 1 {
		return "any restic (restic.net)"
	}
	return "restic 0.14 or newer (restic.net)"
}

// everything says how to get all of it back.
func (p *kitPage) everything(k Kit) {
	p.heading("All of it back, with Caddy")
	p.text(0, "On any machine with this Caddy; it asks for the password, or takes --password-file:")
	for _, r := range k.Repositories {
		p.line("")
		p.command("caddy", "backup", "recover", shellWord(r.Location), "--target /srv/recovered")
	}
	p.heading("All of it back, with restic alone")
	p.text(0, "No program of ours is needed. restic asks for the password, or takes --password-file. The newest snapshot of a job is "+
		"\"latest\"; the first command lists older ones. Where it bears the tag safety or suspect, take an older one by its ID: a safety "+
		"snapshot holds what a restore has replaced. The last command proves that every file is as it was.")
	for _, r := range k.Repositories {
		p.line("")
		p.command("restic", "-r "+shellWord(r.Location), "snapshots")
		for _, j := range r.Jobs {
			p.command("restic", "-r "+shellWord(r.Location), "restore latest", "--path "+shellWord("/"+j.Name), "--target /srv/recovered")
			p.command("(cd "+shellWord("/srv/recovered/"+j.Name), "&& sha256sum -c SHA256SUMS)")
		}
	}
}

// pieces says what to do with what lies there then, of each kind that the jobs have.
func (p *kitPage) pieces(k Kit) {
	p.heading("Back into service")
	known := map[string]bool{}
	for _, r := range k.Repositories {
		for _, j := range r.Jobs {
			for _, s := range j.Sources {
				parts := s.Parts
				if len(parts) == 0 { // it could not be asked
					parts = []string{"the file"}
				}
				for _, part := range parts {
					name, folder := strings.CutSuffix(part, "/")
					form := FormOf(s.Kind, Part{Name: name, Folder: folder || s.Kind == "files"})
					key := string(form)
					if form == FormOther {
						key = s.Kind
					}
					if known[key] {
						continue
					}
					if len(known) > 0 {
						p.line("")
					}
					known[key] = true
					p.piece(form, s.Kind, part)
				}
			}
		}
	}
}

// piece tells it by the example of one part.
func (p *kitPage) piece(form Form, kind, part string) {
	switch form {
	case FormArchive:
		p.text(0, "A PostgreSQL database, as "+part+", with the programs of that PostgreSQL or a newer one. Roles that own things must be there "+
			"first. By a superuser, under its old name, with its owner and settings:")
		p.command("pg_restore", "--create", "--exit-on-error", "--dbname=postgres", shellWord(part))
		p.text(0, "Or, where a database of that name is there, into a new, empty one:")
		p.command("createdb", "--template=template0", "restored")
		p.command("pg_restore", "--exit-on-error", "--single-transaction", "--dbname=restored", shellWord(part))
	case FormPostgres:
		p.text(0, "A PostgreSQL database, as the script "+part+": into a new, empty database.")
		p.command("createdb", "--template=template0", "restored")
		p.command("psql", "-X", "--set=ON_ERROR_STOP=1", "--single-transaction", "--dbname=restored", "--file="+shellWord(part))
	case FormRoles:
		p.text(0, "Roles and tablespaces of a PostgreSQL server, as "+part+", before its databases, by a superuser. Errors about those that exist "+
			"already are as they should be.")
		p.command("psql", "-X", "--dbname=postgres", "--file="+shellWord(part))
	case FormMySQL:
		p.text(0, "A database of MariaDB or MySQL, as "+part+": into a new, empty database. Without its first line for a client that does not know it.")
		p.command("mariadb", "--execute='create database restored'")
		p.command("mariadb", "restored", "<", shellWord(part))
	case FormUsers:
		p.text(0, "Users of MariaDB and their rights, as "+part+". Errors about those that exist already are as they should be.")
		p.command("mariadb", "--force", "<", shellWord(part))
	case FormSQLite:
		p.text(0, "An SQLite database, as "+part+": it is the database. Stop the application, move the old file and those beside it that end "+
			"with -wal, -shm and -journal away, and put this one in its place, with the old owner and mode.")
		p.command("sqlite3", shellWord(part), "'pragma integrity_check'")
	case FormFixture:
		p.text(0, "The data of a Django project, as the fixture "+part+": into a database that migrate has made.")
		p.command("python", "manage.py", "migrate")
		p.command("python", "manage.py", "loaddata", shellWord(part))
	case FormFolder:
		p.text(0, "A folder, as "+part+": move it to where it was. Restored as root it has its owners, modes and times.")
	case FormCaddy:
		p.text(0, "Caddy itself, as "+part+": storage/ is the root of a storage in files, in its place by default Caddy's data directory; "+
			"caddyfile/ holds the Caddyfile by its old path; config.json is what ran last. Start Caddy with them, as the user that owns them.")
	case FormOther:
		if kind == "command" {
			p.text(0, "What a program printed, as "+part+": it is for the program that reads such a thing.")
			return
		}
		p.text(0, "A source of the kind "+kind+", as "+part+": restored by its own programs.")
	}
}
