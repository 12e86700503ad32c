package handler

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// brokenOff tells what it may mean when the body of a download ends too early: the server has nothing else to say it with.
type brokenOff struct {
	io.ReadCloser
	ctx context.Context
}

func (b *brokenOff) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && b.ctx.Err() == nil {
		err = fmt.Errorf("the server broke off (%w); the stored data may be damaged: run caddy backup check --read-data", err)
	}
	return n, err
}

func (c *Client) get(ctx context.Context, path string, q url.Values, out any) error {
	return c.ask(ctx, http.MethodGet, path, q, nil, out)
}

func (c *Client) post(ctx context.Context, path string, body, out any) error {
	return c.ask(ctx, http.MethodPost, path, nil, body, out)
}

// ask sends body as JSON, unless it is nil, and decodes the answer into out, unless it is nil.
func (c *Client) ask(ctx context.Context, method, path string, q url.Values, body, out any) error {
	resp, err := c.do(ctx, method, path, q, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return answered(resp)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("answer of %s: %w", c.Base+path, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	address := c.Base + path
	if len(q) > 0 {
		address += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return cmp.Or(c.HTTP, http.DefaultClient).Do(req)
}

// answered reads the error that the server answered with.
func answered(resp *http.Response) error {
	e := &Error{}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what there is of it says more than the error of reading it
	if json.Unmarshal(body, e) != nil || e.Message == "" {
		e = &Error{Message: fmt.Sprintf("%s answered %s", resp.Request.URL.Redacted(), resp.Status)}
	}
	e.Status = resp.StatusCode
	return e
}

// join makes a path of segments, each escaped. An empty one stays empty and hits no route.
func join(segments ...string) string {
	for i, s := range segments {
		segments[i] = escapeSegment(s)
	}
	return strings.Join(segments, "/")
}

// inSnapshot escapes a path from the root of a snapshot, with a leading slash.
func inSnapshot(path string) string {
	return "/" + join(strings.Split(strings.Trim(path, "/"), "/")...)
}

// where is the query of a path: one without a leading slash is meant from the folder of the job.
func where(repository, path string) url.Values {
	q := query("repository", repository)
	if path != "" && !strings.HasPrefix(path, "/") {
		q.Set("relative", "true")
	}
	return q
}

// escapeSegment escapes one segment of a path. "." and ".." would be resolved away on the way.
func escapeSegment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

// query makes a query of pairs, leaving out empty values.
func query(pairs ...string) url.Values {
	v := make(url.Values)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}
