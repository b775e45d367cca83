// Runs the embedded Lean (WebAssembly) under Node as a command with standard input and output.
//
//   node --allow-natives-syntax --expose-gc launcher.js GLUE WASM LIBRARY PROJECT CODE LEAN_ARGUMENT...
//
// Lean sees two host folders, read-only: LIBRARY at /lib/lean and PROJECT at /project. Everything else
// under its root is an empty file system in memory. Covered: host files (no write, no other path), the
// network (no socket is connected), processes. Not covered: time, and memory up to the build's own 2 GiB; the
// caller bounds those.
//
// The same file starts the process and every pthread of it (a Node worker thread). Files, standard
// input and standard output are served in the thread that asks. As built, such a call is handed to
// the process's first thread, which looks for it once a millisecond: importing 800 modules took 10 s of
// waiting, and each check some milliseconds.
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const path = require("path");
const vm = require("vm");
const { isMainThread, workerData, Worker } = require("worker_threads");
const throws = require("./throws.js");

const DIGEST_BYTES = 32;
const STANDARD_STREAMS = 3;
const FIRST_HOST_FD = 1 << 20; // ours, far above those of the memory file system
const ENOENT = 44, EBADF = 8, EROFS = 69, EINVAL = 28, EIO = 29; // WASI numbers
const WRITE_FLAGS = 3 | 64 | 512 | 1024; // access mode, O_CREAT, O_TRUNC, O_APPEND
const FRAME = Buffer.from("STP1 "); // only such lines of standard output leave the process,
const ERROR = Buffer.from("/project/"); // and messages on our own files, as errors

const config = isMainThread ? configOf(process.argv.slice(2)) : workerData.config;
const roots = [["/lib/lean", config.library], ["/project", config.project]];

function configOf([glue, wasm, library, project, code]) {
  return { glue, wasm, library, project, code, symbols: shared(path.join(path.dirname(glue), "symbols.txt")) };
}

/** The host path of a path in Lean's root, or null where it is not in a folder that we serve. */
function hostPath(leanPath) {
  const clean = path.posix.normalize(leanPath);
  for (const [at, folder] of roots) {
    if (clean === at || clean.startsWith(at + "/")) return folder + clean.slice(at.length);
  }
  return null;
}

function errno(error) {
  return error.code === "ENOENT" || error.code === "ENOTDIR" ? ENOENT : EIO;
}

let pendingOutput = Buffer.alloc(0);

/** Passes on whole framed lines; this build of Lean prints debug lines and dumps that nobody asked for. */
function writeOutput(chunk) {
  pendingOutput = pendingOutput.length ? Buffer.concat([pendingOutput, chunk]) : chunk;
  let newline;
  while ((newline = pendingOutput.indexOf(10)) >= 0) {
    const line = pendingOutput.subarray(0, newline + 1);
    if (line.subarray(0, FRAME.length).equals(FRAME)) writeAll(1, line);
    else if (line.subarray(0, ERROR.length).equals(ERROR)) writeAll(2, line);
    pendingOutput = pendingOutput.subarray(newline + 1);
  }
}

function writeAll(fd, bytes) {
  for (let sent = 0; sent < bytes.length; ) {
    try {
      sent += fs.writeSync(fd, bytes, sent);
    } catch (error) {
      if (error.code === "EPIPE") process.exit(0); // the reader is gone, so are we
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

/** Replaces the imports that reach files, by versions that serve our fds and hand on the others. */
function hostImports(imports, emscripten) {
  const open = new Map(); // fd -> {host, position, size}
  const { text, writeStat, views } = emscripten;
  const buffers = (iov, count) => {
    const { HEAPU8, HEAPU32 } = views();
    return Array.from({ length: count }, (_, i) => {
      const at = HEAPU32[(iov >> 2) + 2 * i], size = HEAPU32[(iov >> 2) + 2 * i + 1];
      return Buffer.from(HEAPU8.buffer, at, size);
    });
  };
  const stat = (given) => (leanPath, out) => {
    const host = hostPath(text(leanPath));
    if (host === null) return given(leanPath, out);
    try {
      return writeStat(out, fs.statSync(host));
    } catch (error) {
      return -errno(error);
    }
  };
  const given = { ...imports };
  return {
    __syscall_stat64: stat(given.__syscall_stat64),
    __syscall_lstat64: stat(given.__syscall_lstat64),
    __syscall_newfstatat(dir, leanPath, out, flags) {
      const host = hostPath(text(leanPath));
      return host === null ? given.__syscall_newfstatat(dir, leanPath, out, flags) : stat()(leanPath, out);
    },
    __syscall_readlinkat(dir, leanPath, buffer, size) {
      const host = hostPath(text(leanPath));
      return host === null ? given.__syscall_readlinkat(dir, leanPath, buffer, size) : -EINVAL; // no links
    },
    __syscall_openat(dir, leanPath, flags, mode) {
      const host = hostPath(text(leanPath));
      if (host === null) return given.__syscall_openat(dir, leanPath, flags, mode);
      if (flags & WRITE_FLAGS) return -EROFS;
      try {
        const handle = fs.openSync(host, "r");
        const fd = FIRST_HOST_FD + handle;
        open.set(fd, { handle, position: 0, size: fs.fstatSync(handle).size });
        return fd;
      } catch (error) {
        return -errno(error);
      }
    },
    __syscall_fstat64(fd, out) {
      if (fd < FIRST_HOST_FD) return given.__syscall_fstat64(fd, out);
      return open.has(fd) ? writeStat(out, fs.fstatSync(open.get(fd).handle)) : -EBADF;
    },
    fd_read(fd, iov, count, read) {
      if (fd !== 0 && fd < FIRST_HOST_FD) return given.fd_read(fd, iov, count, read);
      const file = fd === 0 ? { handle: 0, position: null } : open.get(fd);
      if (!file) return EBADF;
      let total = 0;
      try {
        for (const buffer of buffers(iov, count)) {
          if (buffer.length === 0) continue;
          const n = fs.readSync(file.handle, buffer, 0, buffer.length, file.position);
          if (file.position !== null) file.position += n;
          total += n;
          if (n < buffer.length) break;
        }
      } catch (error) {
        return EIO;
      }
      views().HEAPU32[read >> 2] = total;
      return 0;
    },
    fd_write(fd, iov, count, written) {
      if (fd >= STANDARD_STREAMS) return given.fd_write(fd, iov, count, written);
      if (fd === 0) return EBADF;
      const bytes = Buffer.concat(buffers(iov, count));
      if (fd === 1) writeOutput(bytes);
      else writeAll(2, bytes);
      views().HEAPU32[written >> 2] = bytes.length;
      return 0;
    },
    fd_seek(fd, offset, whence, position) {
      if (fd < FIRST_HOST_FD) return given.fd_seek(fd, offset, whence, position);
      const file = open.get(fd);
      if (!file) return EBADF;
      const target = Number(offset) + [0, file.position, file.size][whence];
      if (!(target >= 0)) return EINVAL;
      file.position = target;
      views().HEAP64[position >> 3] = BigInt(target);
      return 0;
    },
    // Where memory ends, so does the process: not all of Lean looks whether it got what it asked for, and an import
    // that did not reads its modules over whatever lies at address 0.
    emscripten_resize_heap(size) {
      if (given.emscripten_resize_heap(size)) return true;
      writeAll(2, Buffer.from("out of memory: WebAssembly's 2 GiB are full\n"));
      process.kill(process.pid, "SIGKILL");
      return false;
    },
    fd_close(fd) {
      if (fd < FIRST_HOST_FD) return given.fd_close(fd);
      const file = open.get(fd);
      if (!file) return EBADF;
      open.delete(fd);
      fs.closeSync(file.handle);
      return 0;
    },
  };
}

/** A file in memory that all threads share. */
function shared(file) {
  const bytes = new Uint8Array(new SharedArrayBuffer(fs.statSync(file).size));
  bytes.set(fs.readFileSync(file));
  return bytes.buffer;
}

/** The value of a symbol, from lines `NAME VALUE` in the order of their bytes; undefined where there is none. */
function symbolValue(symbol) {
  const lines = Buffer.from(config.symbols), key = Buffer.from(symbol + " ");
  let low = 0, high = lines.length; // both where a line begins
  while (low < high) {
    const middle = (low + high) >> 1;
    const start = middle > low ? lines.lastIndexOf(10, middle - 1) + 1 : low, end = lines.indexOf(10, start);
    const order = key.compare(lines, start, Math.min(start + key.length, end));
    if (order === 0) return Number(lines.latin1Slice(start + key.length, end));
    if (order < 0) high = start;
    else low = end + 1;
  }
}

const digest = (bytes) => crypto.createHash("sha256").update(bytes).digest();

/** Lean's module, with the machine code of CODE where this V8 takes it (see machine_code.py). */
function compiled() {
  const wasm = fs.readFileSync(config.wasm);
  const file = fs.existsSync(config.code) ? fs.readFileSync(config.code) : Buffer.alloc(0);
  const code = new Uint8Array(file.subarray(DIGEST_BYTES)); // V8 would run what is damaged
  const whole = digest(code).equals(file.subarray(0, DIGEST_BYTES));
  return (whole && %DeserializeWasmModule(code.buffer, wasm)) || new WebAssembly.Module(wasm);
}

function keepCode(module, file) {
  const code = new Uint8Array(%SerializeWasmModule(module));
  fs.writeFileSync(file, Buffer.concat([digest(code), code]));
}

globalThis.stpSymbol = symbolValue;
console.log = () => {}; // the glue's own debug lines
globalThis.require = require;
globalThis.__filename = "/bin/lean"; // Lean takes its own place, and from it the library's, from here
globalThis.__dirname = path.dirname(config.glue);
globalThis.stpHostImports = (imports, emscripten) => ({ ...hostImports(imports, emscripten), ...throws.imports });
globalThis.stpInstanceReady = (instance) => throws.takeThrown(instance, symbolValue("stp_caught"));
globalThis.stpNewThread = () => new Worker(__launcher, {
  workerData: { config, thread: "em-pthread" },
  resourceLimits: { stackSizeMb: 64 }, // Node's own default, 4, ends the process where Lean's stack is not full
});
const __launcher = module.filename;

if (isMainThread) {
  process.on("uncaughtException", (error) => { // Node's own report quotes the line, all 5 MB of it
    writeAll(2, Buffer.from(String(error.stack ?? error).slice(0, 2000) + "\n"));
    process.exit(1);
  });
  const leanArguments = process.argv.slice(7);
  process.argv.length = 2;
  process.chdir("/");
  globalThis.Module = {
    arguments: leanArguments,
    locateFile: (name) => (name.endsWith(".wasm") ? config.wasm : name),
    preRun: [() => {
      ENV.LEAN_PATH = "/lib/lean:/project";
      ENV.LEAN_NUM_THREADS = "1";
      for (const folder of ["/bin", "/lib/lean", "/project"]) FS.mkdirTree(folder);
    }],
    instantiateWasm(imports, done) {
      const module = compiled();
      gc(); // copies of both files would stay, 300 MB: this thread goes to sleep soon
      if (process.env.STP_KEEP_CODE) process.on("exit", () => keepCode(module, process.env.STP_KEEP_CODE));
      done(new WebAssembly.Instance(module, imports), module);
      return {};
    },
    onExit: (code) => process.exit(code),
    onAbort: () => process.exit(134),
  };
}
vm.runInThisContext(fs.readFileSync(config.glue, "utf8"), { filename: config.glue });
