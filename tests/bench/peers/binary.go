// Portolan's binary frames in Go: [length u32 big-endian][type u8][payload], the length counts the payload alone.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
)

const (
	headerSize = 5
	maxFrame   = 64 * 1024

	typeEcho    = 1
	typeReverse = 2
)

// flushFirst writes out what has been answered whenever the reader is about to go to the kernel for more, which
// makes one write for every batch of frames that arrived together.
type flushFirst struct {
	connection net.Conn
	answers    *bufio.Writer
}

func (f *flushFirst) Read(p []byte) (int, error) {
	if err := f.answers.Flush(); err != nil {
		return 0, err
	}
	return f.connection.Read(p)
}

func serve(connection net.Conn) {
	defer connection.Close()
	writer := bufio.NewWriterSize(connection, 4096)
	reader := bufio.NewReaderSize(&flushFirst{connection, writer}, 4096)
	header := make([]byte, headerSize)
	payload := make([]byte, 256)
	for {
		if _, err := io.ReadFull(reader, header); err != nil {
			return
		}
		length := int(binary.BigEndian.Uint32(header))
		if length > maxFrame {
			return
		}
		if length > cap(payload) {
			payload = make([]byte, length)
		}
		payload = payload[:length]
		if _, err := io.ReadFull(reader, payload); err != nil {
			return
		}
		switch header[4] {
		case typeEcho:
		case typeReverse:
			for i, j := 0, length-1; i < j; i, j = i+1, j-1 {
				payload[i], payload[j] = payload[j], payload[i]
			}
		default:
			writer.Flush()
			return
		}
		writer.Write(header)
		if _, err := writer.Write(payload); err != nil {
			return
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "listen:", err)
		os.Exit(1)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		os.Exit(0)
	}()
	fmt.Printf("listening binary tcp://%s\n", listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "accept:", err)
			os.Exit(1)
		}
		go serve(connection)
	}
}
