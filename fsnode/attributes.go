package fsnode

import (
	"os"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/repo"
)

// accessList is the attribute in which a file says who else may use it (setfacl). With one, the group's bits of the mode are the
// most that any of these may.
const accessList = "system.posix_acl_access"

// CopyAttributes gives a file the access list and the user's attributes that another has, which is not opened for it. What the
// system itself puts on files, such as labels, is its own business. An error may leave some of them set.
func CopyAttributes(to *os.File, from string) error {
	attrs, err := pathXAttrs(from)
	if err != nil {
		return err
	}
	attrs = slices.DeleteFunc(attrs, func(a repo.XAttr) bool { return a.Name != accessList && !strings.HasPrefix(a.Name, "user.") })
	return setXAttrs(place{}, to, repo.Node{ExtendedAttributes: attrs})
}
