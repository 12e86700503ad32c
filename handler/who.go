package handler

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/internal/setting"
)

// defaultUser is set by Caddy's authentication handlers, basic_auth among them.
const defaultUser = "{http.auth.user.id}"

// certificateFields is where Caddy tells the client's certificate, verified or not.
const certificateFields = "{http.request.tls.client."

// resolveRoles fills the table of users and says in the log what follows from having none.
func (h *Handler) resolveRoles() error {
	h.roles = make(map[string]Role)
	for _, list := range []struct {
		role  Role
		names []string
	}{{Admin, h.Admins}, {Operator, h.Operators}, {Viewer, h.Viewers}} {
		for _, name := range list.names {
			if err := h.addUser(name, list.role); err != nil {
				return err
			}
		}
	}
	if h.User == "" {
		h.User = defaultUser
	}
	if len(h.roles) == 0 && !h.InsecureNoAuth {
		h.log.Warn("no roles are given: every authenticated user may look, and nobody may run, download or restore; " +
			"add lines like `admin alice` to the backup directive")
	}
	if h.InsecureNoAuth {
		h.log.Warn("insecure_no_auth: whoever reaches this site sees names, sizes and times of all backups")
	}
	return nil
}

func (h *Handler) addUser(name string, role Role) error {
	user, err := setting.Resolve(role.String(), name)
	if err != nil {
		return err
	}
	if user = strings.TrimSpace(user); user == "" {
		return fmt.Errorf("%s: the name of a user is empty", role)
	}
	if had, ok := h.roles[user]; ok && had != role {
		return fmt.Errorf("user %q is both %s and %s; each role includes the smaller ones, so name them once", user, had, role)
	}
	h.roles[user] = role
	return nil
}

func (h *Handler) resolveToken() error {
	if h.HealthToken == "" {
		return nil
	}
	token, err := setting.Resolve("health_token", h.HealthToken)
	if err != nil {
		return err
	}
	h.token = sha256.Sum256([]byte(token))
	return nil
}

// who finds out who asks.
func (h *Handler) who(r *http.Request) Caller {
	if h.bearsToken(r) {
		return Caller{Name: "health token", Role: Prober, ReadOnly: true}
	}
	name := h.userOf(r)
	caller := Caller{Name: name, Role: h.roleOf(name), ReadOnly: h.ReadOnly}
	if caller.Role == Nobody {
		h.logRefused(name)
	}
	return caller
}

// roleOf is the role of a user; the empty name is nobody's.
func (h *Handler) roleOf(name string) Role {
	if name == "" {
		if h.InsecureNoAuth {
			return Viewer
		}
		return Nobody
	}
	if len(h.roles) == 0 {
		return Viewer
	}
	return h.roles[name]
}

// userOf is the name of the authenticated user, or "". Fields of a certificate that nobody verified are anybody's words.
func (h *Handler) userOf(r *http.Request) string {
	if strings.Contains(h.User, certificateFields) && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
		return ""
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	return strings.TrimSpace(repl.ReplaceAll(h.User, ""))
}

// bearsToken compares hashes in constant time.
func (h *Handler) bearsToken(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if h.HealthToken == "" || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return subtle.ConstantTimeCompare(sum[:], h.token[:]) == 1
}

func (h *Handler) logRefused(name string) {
	if name != "" {
		h.log.Info("a user without a role was refused; to let them look, add `viewer <name>` to the backup directive", "user", name)
		return
	}
	h.hint.Do(func() {
		h.log.Warn("a request without an authenticated user was refused (this is said once): put basic_auth before the "+
			"backup directive, or with forward_auth add `user {header.Remote-User}` to it, or, where the site cannot be "+
			"reached by others, insecure_no_auth", "user", h.User)
	})
}
