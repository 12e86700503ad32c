package handler

import (
	"cmp"
	"context"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Keys lists the passwords of a repository by what their key files tell in clear text.
func (c *Client) Keys(ctx context.Context, repository string) ([]backup.Key, error) {
	var out keyList
	err := c.get(ctx, ofRepository(repository, "keys"), nil, &out)
	return out.Keys, err
}

// AddKey starts to add a password to a repository.
func (c *Client) AddKey(ctx context.Context, repository string, password []byte) (out backup.Run, err error) {
	err = c.post(ctx, ofRepository(repository, "keys"), newPassword{string(password)}, &out)
	return out, err
}

// RemoveKey starts to remove a key, named by its ID or the beginning of it.
func (c *Client) RemoveKey(ctx context.Context, repository, id string) (out backup.Run, err error) {
	err = c.post(ctx, ofRepository(repository, "keys", id, "remove"), nil, &out)
	return out, err
}

// ChangePassword starts to change our password of a repository; an empty one means to generate it.
func (c *Client) ChangePassword(ctx context.Context, repository string, password []byte) (out backup.Run, err error) {
	err = c.post(ctx, ofRepository(repository, "passwd"), newPassword{string(password)}, &out)
	return out, err
}

// ofRepository is the path of something of a repository; "" is the default one, or the only one.
func ofRepository(name string, segments ...string) string {
	return join(append([]string{"repositories", cmp.Or(name, defaultRepository)}, segments...)...)
}
