/* A stand-in for Triton's backend "onnxruntime", which test_triton.py compiles: it hands the inputs of each request over a
   socket, and gives Triton the outputs and the states that come back. So the server is the real one, and onnxruntime is
   that of the test. Declared here is what it uses of Triton's backend API, version 1 (tritonbackend.h). */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct TRITONSERVER_Error Error;
typedef struct TRITONBACKEND_Input Input;
typedef struct TRITONBACKEND_Model Model;
typedef struct TRITONBACKEND_ModelInstance Instance;
typedef struct TRITONBACKEND_Output Output;
typedef struct TRITONBACKEND_Request Request;
typedef struct TRITONBACKEND_Response Response;
typedef struct TRITONBACKEND_State State;
enum { CPU = 0, FP32 = 11, FINAL = 1, RELEASE_ALL = 1 };

const char *TRITONSERVER_ErrorMessage(Error *);
Error *TRITONBACKEND_InputBuffer(Input *, uint32_t, const void **, uint64_t *, int *, int64_t *);
Error *TRITONBACKEND_InputProperties(Input *, const char **, int *, const int64_t **, uint32_t *, uint64_t *, uint32_t *);
Error *TRITONBACKEND_ModelInstanceModel(Instance *, Model **);
Error *TRITONBACKEND_ModelName(Model *, const char **);
Error *TRITONBACKEND_OutputBuffer(Output *, void **, uint64_t, int *, int64_t *);
Error *TRITONBACKEND_RequestInputByIndex(Request *, uint32_t, Input **);
Error *TRITONBACKEND_RequestInputCount(Request *, uint32_t *);
Error *TRITONBACKEND_RequestRelease(Request *, uint32_t);
Error *TRITONBACKEND_ResponseNew(Response **, Request *);
Error *TRITONBACKEND_ResponseOutput(Response *, Output **, const char *, int, const int64_t *, uint32_t);
Error *TRITONBACKEND_ResponseSend(Response *, uint32_t, Error *);
Error *TRITONBACKEND_StateBuffer(State *, void **, uint64_t, int *, int64_t *);
Error *TRITONBACKEND_StateNew(State **, Request *, const char *, int, const int64_t *, uint32_t);
Error *TRITONBACKEND_StateUpdate(State *);

/* Whatever goes wrong ends the server, and the test shows what it said. */
static void check(Error *error) {
  if (error) {
    fprintf(stderr, "stand-in: %s\n", TRITONSERVER_ErrorMessage(error));
    abort();
  }
}

static void expect(int condition, const char *what) {
  if (!condition) {
    perror(what);
    abort();
  }
}

static FILE *connected(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, getenv("STAND_IN_SOCKET"), sizeof address.sun_path - 1);
  int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
  expect(connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0, "stand-in: connect");
  return fdopen(descriptor, "r+");
}

/* A line "NAME BYTES SIZE...", then the numbers. */
static void send_input(FILE *test, Input *input) {
  const char *name;
  const int64_t *shape;
  uint32_t dims, buffers;
  uint64_t bytes;
  check(TRITONBACKEND_InputProperties(input, &name, NULL, &shape, &dims, &bytes, &buffers));
  fprintf(test, "%s %lu", name, (unsigned long)bytes);
  for (uint32_t i = 0; i < dims; i++) fprintf(test, " %ld", (long)shape[i]);
  fputc('\n', test);
  for (uint32_t i = 0; i < buffers; i++) {
    const void *buffer;
    uint64_t part;
    int memory = CPU;
    int64_t device = 0;
    check(TRITONBACKEND_InputBuffer(input, i, &buffer, &part, &memory, &device));
    expect(memory == CPU && fwrite(buffer, 1, part, test) == part, "stand-in: send");
  }
}

/* Lines "state|output NAME BYTES DIMS SIZE...", each followed by the numbers, until the other side closes. */
static void receive(FILE *test, Request *request, Response *response) {
  char kind[16], name[64];
  unsigned long bytes;
  uint32_t dims;
  while (fscanf(test, "%15s %63s %lu %u", kind, name, &bytes, &dims) == 4) {
    int64_t shape[8], device = 0;
    int memory = CPU, is_state = !strcmp(kind, "state");
    void *buffer;
    State *state;
    Output *output;
    expect(dims <= 8, "stand-in: dims");
    for (uint32_t i = 0; i < dims; i++) expect(fscanf(test, "%ld", (long *)&shape[i]) == 1, "stand-in: shape");
    fgetc(test); /* the end of the line */
    if (is_state) {
      check(TRITONBACKEND_StateNew(&state, request, name, FP32, shape, dims));
      check(TRITONBACKEND_StateBuffer(state, &buffer, bytes, &memory, &device));
    } else {
      check(TRITONBACKEND_ResponseOutput(response, &output, name, FP32, shape, dims));
      check(TRITONBACKEND_OutputBuffer(output, &buffer, bytes, &memory, &device));
    }
    expect(memory == CPU && fread(buffer, 1, bytes, test) == bytes, "stand-in: receive");
    if (is_state) check(TRITONBACKEND_StateUpdate(state));
  }
}

Error *TRITONBACKEND_ModelInstanceExecute(Instance *instance, Request **requests, uint32_t count) {
  Model *model;
  const char *name;
  check(TRITONBACKEND_ModelInstanceModel(instance, &model));
  check(TRITONBACKEND_ModelName(model, &name));
  for (uint32_t r = 0; r < count; r++) {
    FILE *test = connected();
    Response *response;
    uint32_t inputs;
    check(TRITONBACKEND_RequestInputCount(requests[r], &inputs));
    fprintf(test, "%s\n", name);
    for (uint32_t i = 0; i < inputs; i++) {
      Input *input;
      check(TRITONBACKEND_RequestInputByIndex(requests[r], i, &input));
      send_input(test, input);
    }
    fflush(test);
    shutdown(fileno(test), SHUT_WR);
    check(TRITONBACKEND_ResponseNew(&response, requests[r]));
    receive(test, requests[r], response);
    fclose(test);
    check(TRITONBACKEND_ResponseSend(response, FINAL, NULL));
    check(TRITONBACKEND_RequestRelease(requests[r], RELEASE_ALL));
  }
  return NULL;
}
