//go:build !goplugin_before_1_3

package record

import (
	"bytes"
	"context"
	"sync"
)

// Buffer is a writer that a goroutine can wait on.
type Buffer struct {
	mutex sync.Mutex
	data  bytes.Buffer
	grown chan struct{}
}

// NewBuffer creates an empty buffer.
func NewBuffer() *Buffer { return &Buffer{grown: make(chan struct{}, 1)} }

func (b *Buffer) Write(data []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	signal(b.grown)
	return b.data.Write(data)
}

// Bytes returns a copy of what was written so far.
func (b *Buffer) Bytes() []byte {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return append([]byte{}, b.data.Bytes()...)
}

func (b *Buffer) len() uint64 {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return uint64(b.data.Len())
}

// Await waits for at least n bytes. Only one goroutine may wait.
func (b *Buffer) Await(ctx context.Context, n uint64) bool {
	return await(ctx, b.grown, func() bool { return b.len() >= n })
}

// signal wakes the waiting goroutine, now or when it next waits.
func signal(grown chan struct{}) {
	select {
	case grown <- struct{}{}:
	default:
	}
}

// await checks again each time that something was added.
func await(ctx context.Context, grown chan struct{}, enough func() bool) bool {
	for !enough() {
		select {
		case <-grown:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
