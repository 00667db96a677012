// The C header from C++17: lambdas as handlers by a trampoline, which no exception leaves.
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include "svantic.h"

namespace {

void check(svantic_status status) {
    if (status == SVANTIC_STATUS_OK) return;
    std::cerr << svantic_status_name(status) << ": " << svantic_last_error() << std::endl;
    _exit(1);
}

void require(bool condition, const char *what) {
    if (condition) return;
    std::cerr << what << std::endl;
    _exit(1);
}

struct FreeMesh {
    void operator()(svantic_mesh *mesh) const { svantic_free(mesh); }
};

// What a lambda returns is the result; what it throws rejects the dispatch.
struct Handler {
    svantic_mesh *mesh;
    std::function<std::string(std::string_view)> run;
    int *alive;

    Handler(svantic_mesh *of, std::function<std::string(std::string_view)> function, int *count)
        : mesh(of), run(std::move(function)), alive(count) {
        ++*alive;
    }
    ~Handler() { --*alive; }
    Handler(const Handler &) = delete;
    Handler &operator=(const Handler &) = delete;
};

// Functions that C calls have C's linkage; the types in the header say so.
extern "C" void run_handler(void *data, const char *dispatch_id, const char *request, std::size_t length) {
    auto *handler = static_cast<Handler *>(data);
    svantic_status status;
    try {
        const std::string result = handler->run(std::string_view(request, length));
        status = svantic_resolve(handler->mesh, dispatch_id, result.c_str());
    } catch (const std::exception &error) {
        status = svantic_reject(handler->mesh, dispatch_id, "CPP_EXCEPTION", error.what());
    } catch (...) {
        status = svantic_reject(handler->mesh, dispatch_id, nullptr, "something that is no std::exception");
    }
    check(status);
}

extern "C" void free_handler(void *data) { delete static_cast<Handler *>(data); }

struct Events {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::int32_t> seen;
};

extern "C" void note_event(void *data, std::int32_t event, const char *, std::size_t) {
    auto *events = static_cast<Events *>(data);
    const std::lock_guard<std::mutex> lock(events->mutex);
    events->seen.push_back(event);
    events->changed.notify_all();
}

}  // namespace

int main() {
    alarm(60);
    int alive = 0;
    Events events;
    {
        svantic_mesh *handle = nullptr;
        check(svantic_create(R"({"name":"cpp","description":"an agent in C++17","workers":2})", &handle));
        const std::unique_ptr<svantic_mesh, FreeMesh> mesh(handle);
        const auto define = [&](const std::string &name, std::function<std::string(std::string_view)> run) {
            const std::string spec = R"({"name":")" + name + R"(","description":"a lambda"})";
            auto handler = std::make_unique<Handler>(mesh.get(), std::move(run), &alive);
            check(svantic_define_capability(mesh.get(), spec.c_str(), run_handler, handler.get(), free_handler));
            handler.release();  // the library's from now on
        };
        const std::string captured = "captured";
        define("lambda", [captured](std::string_view) { return '"' + captured + '"'; });
        define("throws", [](std::string_view) -> std::string { throw std::runtime_error("thrown in a lambda"); });
        define("throws_int", [](std::string_view) -> std::string { throw 42; });
        require(alive == 3, "three handlers live");
        check(svantic_on_event(mesh.get(), note_event, &events, nullptr));
        check(svantic_connect(mesh.get(), 0));
        {
            std::unique_lock<std::mutex> lock(events.mutex);
            events.changed.wait(lock, [&] {
                for (const auto event : events.seen)
                    if (event == SVANTIC_EVENT_CONNECTED) return true;
                return false;
            });
        }
        std::cout << "connected" << std::endl;
        std::string line;
        std::getline(std::cin, line);
        require(line == "leave", "the test says when to leave");
        check(svantic_disconnect(mesh.get(), 0));
    }
    require(alive == 0, "the library has released every handler");
    check(svantic_shutdown(5000));
    return EXIT_SUCCESS;
}
