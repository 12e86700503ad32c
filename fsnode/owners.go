package fsnode

import (
	"os/user"
	"strconv"
)

// owners looks up the names of users and groups, each once.
type owners struct {
	users, groups map[uint32]string
}

func newOwners() *owners {
	return &owners{users: map[uint32]string{}, groups: map[uint32]string{}}
}

// user is the name of a user, empty when it has none.
func (o *owners) user(uid uint32) string {
	return lookup(o.users, uid, func(id string) (string, error) {
		u, err := user.LookupId(id)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

// group is the name of a group, empty when it has none.
func (o *owners) group(gid uint32) string {
	return lookup(o.groups, gid, func(id string) (string, error) {
		g, err := user.LookupGroupId(id)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

func lookup(known map[uint32]string, id uint32, find func(string) (string, error)) string {
	name, ok := known[id]
	if !ok {
		name, _ = find(strconv.FormatUint(uint64(id), 10))
		known[id] = name
	}
	return name
}
