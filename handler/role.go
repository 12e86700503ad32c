package handler

// Role is what a person may do; each includes the ones before it.
type Role int

// Viewers list; operators also run, cancel and download; admins also restore, check and create repositories.
const (
	Nobody Role = iota
	Prober      // whoever bears the health token: may ask for health, and nothing else
	Viewer
	Operator
	Admin
	Root // whoever reaches Caddy's admin endpoint, or works by the command line: no page gives this role
)

// String is the word of the Caddyfile for the role.
func (r Role) String() string {
	switch r {
	case Prober:
		return "prober"
	case Viewer:
		return "viewer"
	case Operator:
		return "operator"
	case Admin:
		return "admin"
	case Root:
		return "root"
	}
	return "nobody"
}

// Caller is who asks, as the front has found out.
type Caller struct {
	Name     string // goes into Run.By; may be empty
	Role     Role
	ReadOnly bool // may change nothing, whatever the role
}

// May reports whether the caller may do what changes something and needs role.
func (c Caller) May(role Role) bool { return c.Role >= role && !c.ReadOnly }
