<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de" sourcelanguage="en">
<context>
  <name>codemae</name>
  <message>
    <source>% of the analysed area</source>
    <translation>% der ausgewerteten Fläche</translation>
  </message>
  <message>
    <source>% of the variance</source>
    <translation>% der Varianz</translation>
  </message>
  <message>
    <source>1 if the pair can be used</source>
    <translation>1, wenn das Paar brauchbar ist</translation>
  </message>
  <message>
    <source>A class for every pixel, by any segmentation model package</source>
    <translation>Eine Klasse für jedes Pixel, mit jedem Segmentierungsmodell</translation>
  </message>
  <message>
    <source>A layer of this run has been removed from the project: choose again and run.</source>
    <translation>Ein Layer dieses Laufs ist aus dem Projekt entfernt worden: neu wählen und starten.</translation>
  </message>
  <message>
    <source>Add to the queue</source>
    <translation>In die Warteschlange</translation>
  </message>
  <message>
    <source>After</source>
    <translation>Nachher</translation>
  </message>
  <message>
    <source>All options, batch...</source>
    <translation>Alle Optionen, Stapel...</translation>
  </message>
  <message>
    <source>Analyse only near the footprints (faster)</source>
    <translation>Nur nahe den Grundrissen auswerten (schneller)</translation>
  </message>
  <message>
    <source>Analysed area in square metres</source>
    <translation>Ausgewertete Fläche in Quadratmetern</translation>
  </message>
  <message>
    <source>Area</source>
    <translation>Gebiet</translation>
  </message>
  <message>
    <source>Area of buildings per class</source>
    <translation>Gebäudefläche je Klasse</translation>
  </message>
  <message>
    <source>Area of interest</source>
    <translation>Untersuchungsgebiet</translation>
  </message>
  <message>
    <source>As the model says</source>
    <translation>Wie das Modell es vorgibt</translation>
  </message>
  <message>
    <source>Average flips and turns</source>
    <translation>Spiegelungen und Drehungen mitteln</translation>
  </message>
  <message>
    <source>Average the eight flips and turns (8 times slower, a little better)</source>
    <translation>Die acht Spiegelungen und Drehungen mitteln (8-mal langsamer, etwas besser)</translation>
  </message>
  <message>
    <source>Background</source>
    <translation>Hintergrund</translation>
  </message>
  <message>
    <source>Before</source>
    <translation>Vorher</translation>
  </message>
  <message>
    <source>Before and after are the same file ({name}); choose the scene before the event and the one after it.</source>
    <translation>Vorher und Nachher sind dieselbe Datei ({name}); wählen Sie die Szene vor dem Ereignis und die danach.</translation>
  </message>
  <message>
    <source>Before and after do not overlap; check with “Zoom to layer” that both show the same place, and that each has the right coordinate reference system.</source>
    <translation>Vorher und Nachher überlappen sich nicht; prüfen Sie mit „Auf Layer zoomen“, ob beide denselben Ort zeigen und das richtige Koordinatenbezugssystem haben.</translation>
  </message>
  <message>
    <source>Boxes around objects, by any detection model package</source>
    <translation>Rahmen um Objekte, mit jedem Detektionsmodell</translation>
  </message>
  <message>
    <source>Building damage from a scene before and a scene after an event</source>
    <translation>Gebäudeschäden aus einer Szene vor und einer Szene nach einem Ereignis</translation>
  </message>
  <message>
    <source>Building footprints</source>
    <translation>Gebäudegrundrisse</translation>
  </message>
  <message>
    <source>Building polygons: each gets a class, its confidence and its area</source>
    <translation>Gebäudepolygone: jedes bekommt eine Klasse, deren Sicherheit und seine Fläche</translation>
  </message>
  <message>
    <source>Buildings</source>
    <translation>Gebäude</translation>
  </message>
  <message>
    <source>Buildings per class. Looked at: {looked}; of these the model takes {missed} for background.</source>
    <translation>Gebäude je Klasse. Betrachtet: {looked}; davon hält das Modell {missed} für Hintergrund.</translation>
  </message>
  <message>
    <source>Buildings: not analysed</source>
    <translation>Gebäude: nicht ausgewertet</translation>
  </message>
  <message>
    <source>Buildings: {name}</source>
    <translation>Gebäude: {name}</translation>
  </message>
  <message>
    <source>Cancel</source>
    <translation>Abbrechen</translation>
  </message>
  <message>
    <source>Cancel this run</source>
    <translation>Diesen Lauf abbrechen</translation>
  </message>
  <message>
    <source>Cancelled; nothing was written</source>
    <translation>Abgebrochen; es wurde nichts geschrieben</translation>
  </message>
  <message>
    <source>Cancelled; nothing was written.</source>
    <translation>Abgebrochen; nichts wurde geschrieben.</translation>
  </message>
  <message>
    <source>Cancelling ...</source>
    <translation>Wird abgebrochen ...</translation>
  </message>
  <message>
    <source>Check a pair of scenes</source>
    <translation>Szenenpaar prüfen</translation>
  </message>
  <message>
    <source>Check and use</source>
    <translation>Prüfen und verwenden</translation>
  </message>
  <message>
    <source>Check the codemae-geo runtime</source>
    <translation>Laufzeitumgebung codemae-geo prüfen</translation>
  </message>
  <message>
    <source>Check the runtime again</source>
    <translation>Laufzeitumgebung erneut prüfen</translation>
  </message>
  <message>
    <source>Checking the inputs</source>
    <translation>Eingaben werden geprüft</translation>
  </message>
  <message>
    <source>Checking {program} ...</source>
    <translation>{program} wird geprüft ...</translation>
  </message>
  <message>
    <source>Choose a model.</source>
    <translation>Wählen Sie ein Modell.</translation>
  </message>
  <message>
    <source>Choose a polygon layer</source>
    <translation>Polygonlayer wählen</translation>
  </message>
  <message>
    <source>Choose a scene before and a scene after, or load the sample pair.</source>
    <translation>Wählen Sie eine Szene vorher und eine nachher, oder laden Sie das Beispielpaar.</translation>
  </message>
  <message>
    <source>Choose the layer whose polygons are the area.</source>
    <translation>Wählen Sie den Layer, dessen Polygone das Gebiet sind.</translation>
  </message>
  <message>
    <source>Choose the scene after</source>
    <translation>Szene nachher wählen</translation>
  </message>
  <message>
    <source>Choose the scene after the event.</source>
    <translation>Wählen Sie die Szene nach dem Ereignis.</translation>
  </message>
  <message>
    <source>Choose the scene before</source>
    <translation>Szene vorher wählen</translation>
  </message>
  <message>
    <source>Choose the scene before the event.</source>
    <translation>Wählen Sie die Szene vor dem Ereignis.</translation>
  </message>
  <message>
    <source>Class</source>
    <translation>Klasse</translation>
  </message>
  <message>
    <source>Classes</source>
    <translation>Klassen</translation>
  </message>
  <message>
    <source>Classifying buildings</source>
    <translation>Gebäude werden eingestuft</translation>
  </message>
  <message>
    <source>CoDe-MAE computes in a Python environment of its own, the runtime. Nothing is installed into QGIS, and images never leave this computer.</source>
    <translation>CoDe-MAE rechnet in einer eigenen Python-Umgebung, der Laufzeitumgebung. In QGIS wird nichts installiert, und Bilder verlassen diesen Rechner nicht.</translation>
  </message>
  <message>
    <source>CoDe-MAE is missing in the Processing toolbox: enable the plugin again.</source>
    <translation>CoDe-MAE fehlt in den Verarbeitungswerkzeugen: Schalten Sie die Erweiterung wieder ein.</translation>
  </message>
  <message>
    <source>CoDe-MAE: maps from optical and radar images</source>
    <translation>CoDe-MAE: Karten aus optischen und Radarbildern</translation>
  </message>
  <message>
    <source>Common ground in square metres</source>
    <translation>Gemeinsame Fläche in Quadratmetern</translation>
  </message>
  <message>
    <source>Compares an optical scene before an event with an optical or radar scene after it and gives each pixel, and each building if you have footprints, a class: intact, damaged or destroyed.

The scenes may differ in coordinate reference system, pixel size and extent; the map has the grid of the scene before, unless you ask for another. A scene that consists of several tiles: choose one tile, and the others under the advanced parameters.

Everything runs on this computer. The map is a model's opinion: read the model's limits in the report, and have it reviewed before decisions about people's safety depend on it.</source>
    <translation>Vergleicht eine optische Szene vor einem Ereignis mit einer optischen oder Radarszene danach und gibt jedem Pixel, und mit Grundrissen jedem Gebäude, eine Klasse: unversehrt, beschädigt oder zerstört.

Die Szenen dürfen sich in Koordinatenbezugssystem, Pixelgröße und Ausdehnung unterscheiden; die Karte hat das Raster der Szene vorher, wenn Sie kein anderes verlangen. Besteht eine Szene aus mehreren Kacheln, wählen Sie eine Kachel und die übrigen unter den erweiterten Parametern.

Alles läuft auf diesem Rechner. Die Karte ist die Meinung eines Modells: Lesen Sie dessen Grenzen im Bericht, und lassen Sie sie prüfen, bevor Entscheidungen über die Sicherheit von Menschen davon abhängen.</translation>
  </message>
  <message>
    <source>Component</source>
    <translation>Komponente</translation>
  </message>
  <message>
    <source>Compute on</source>
    <translation>Rechnen auf</translation>
  </message>
  <message>
    <source>Computes dense features of a scene with the backbone of a model package: a raster with one band for each dimension, to cluster or to classify, and a picture in which red, green and blue are the first three principal components: places that look alike to the model have like colours.</source>
    <translation>Berechnet mit dem Rückgrat eines Modellpakets dichte Merkmale einer Szene: ein Raster mit einem Kanal je Dimension, zum Gruppieren oder Klassifizieren, und ein Bild, in dem Rot, Grün und Blau die ersten drei Hauptkomponenten sind: Orte, die für das Modell ähnlich aussehen, haben ähnliche Farben.</translation>
  </message>
  <message>
    <source>Computing the picture</source>
    <translation>Bild wird berechnet</translation>
  </message>
  <message>
    <source>Confidence</source>
    <translation>Sicherheit</translation>
  </message>
  <message>
    <source>Coordinate reference system</source>
    <translation>Koordinatenbezugssystem</translation>
  </message>
  <message>
    <source>Coordinate reference system of the map</source>
    <translation>Koordinatenbezugssystem der Karte</translation>
  </message>
  <message>
    <source>Copy</source>
    <translation>Kopieren</translation>
  </message>
  <message>
    <source>Copy diagnostics</source>
    <translation>Diagnose kopieren</translation>
  </message>
  <message>
    <source>Copy log</source>
    <translation>Protokoll kopieren</translation>
  </message>
  <message>
    <source>Correct or remove the variable and start QGIS again</source>
    <translation>Berichtigen oder entfernen Sie die Variable und starten Sie QGIS neu</translation>
  </message>
  <message>
    <source>Create</source>
    <translation>Anlegen</translation>
  </message>
  <message>
    <source>Create a runtime</source>
    <translation>Laufzeitumgebung anlegen</translation>
  </message>
  <message>
    <source>Create the CoDe-MAE runtime</source>
    <translation>Laufzeitumgebung von CoDe-MAE anlegen</translation>
  </message>
  <message>
    <source>Creating the environment</source>
    <translation>Umgebung wird angelegt</translation>
  </message>
  <message>
    <source>Damage class of each building</source>
    <translation>Schadensklasse jedes Gebäudes</translation>
  </message>
  <message>
    <source>Damage classes</source>
    <translation>Schadensklassen</translation>
  </message>
  <message>
    <source>Damage map (CoDe-MAE)</source>
    <translation>Schadenskarte (CoDe-MAE)</translation>
  </message>
  <message>
    <source>Damage map panel</source>
    <translation>Bedienfeld Schadenskarte</translation>
  </message>
  <message>
    <source>Damage polygons</source>
    <translation>Schadenspolygone</translation>
  </message>
  <message>
    <source>Damage {name}</source>
    <translation>Schäden {name}</translation>
  </message>
  <message>
    <source>Damaged</source>
    <translation>Beschädigt</translation>
  </message>
  <message>
    <source>Date</source>
    <translation>Datum</translation>
  </message>
  <message>
    <source>Destroyed</source>
    <translation>Zerstört</translation>
  </message>
  <message>
    <source>Detect objects</source>
    <translation>Objekte finden</translation>
  </message>
  <message>
    <source>Device</source>
    <translation>Gerät</translation>
  </message>
  <message>
    <source>Download about {download}, on disk about {disk}, in {folder} (with {tool}).</source>
    <translation>Etwa {download} herunterzuladen, etwa {disk} auf der Platte, in {folder} (mit {tool}).</translation>
  </message>
  <message>
    <source>Download from the Python package index</source>
    <translation>Aus dem Python-Paketindex herunterladen</translation>
  </message>
  <message>
    <source>Drag a rectangle on the map</source>
    <translation>Ein Rechteck auf der Karte aufziehen</translation>
  </message>
  <message>
    <source>Draw a rectangle on the map, or choose another area.</source>
    <translation>Zeichnen Sie ein Rechteck auf der Karte, oder wählen Sie ein anderes Gebiet.</translation>
  </message>
  <message>
    <source>Draw...</source>
    <translation>Zeichnen...</translation>
  </message>
  <message>
    <source>Drawing polygons</source>
    <translation>Polygone werden gezeichnet</translation>
  </message>
  <message>
    <source>Eight times slower, a little better</source>
    <translation>Achtmal langsamer, etwas besser</translation>
  </message>
  <message>
    <source>Engine {version} on {device}</source>
    <translation>Rechenkern {version} auf {device}</translation>
  </message>
  <message>
    <source>Every run makes a new folder in this one</source>
    <translation>Jeder Lauf legt in diesem Ordner einen neuen an</translation>
  </message>
  <message>
    <source>Expected: {text}</source>
    <translation>Erwartet: {text}</translation>
  </message>
  <message>
    <source>Extent</source>
    <translation>Ausdehnung</translation>
  </message>
  <message>
    <source>Features</source>
    <translation>Merkmale</translation>
  </message>
  <message>
    <source>Files</source>
    <translation>Dateien</translation>
  </message>
  <message>
    <source>Find the sample pair</source>
    <translation>Beispielpaar suchen</translation>
  </message>
  <message>
    <source>Finds objects in a scene of any size with a detection model package (.safetensors) and gives each a box, a class and a score.</source>
    <translation>Findet mit einem Detektionsmodell (.safetensors) Objekte in einer Szene jeder Größe und gibt jedem einen Rahmen, eine Klasse und einen Wert.</translation>
  </message>
  <message>
    <source>First three components</source>
    <translation>Die ersten drei Komponenten</translation>
  </message>
  <message>
    <source>Folder for the results</source>
    <translation>Ordner für die Ergebnisse</translation>
  </message>
  <message>
    <source>Found: {text}</source>
    <translation>Gefunden: {text}</translation>
  </message>
  <message>
    <source>From a file...</source>
    <translation>Aus einer Datei...</translation>
  </message>
  <message>
    <source>Gives each footprint the class that an existing class raster holds for it, with the share of each class, the confidence and whether the footprint was covered. Nothing is computed again by the model.</source>
    <translation>Gibt jedem Grundriss die Klasse, die ein vorhandenes Klassenraster für ihn enthält, mit dem Anteil jeder Klasse, der Sicherheit und ob der Grundriss abgedeckt war. Das Modell rechnet dafür nicht noch einmal.</translation>
  </message>
  <message>
    <source>Gives every pixel of a scene a class with any segmentation model package (.safetensors).

The package says which sensor and bands it takes; scenes of any size are read in windows without seams.</source>
    <translation>Gibt jedem Pixel einer Szene eine Klasse, mit jedem Segmentierungsmodell (.safetensors).

Das Modellpaket sagt, welchen Sensor und welche Kanäle es braucht; Szenen jeder Größe werden in Fenstern ohne Nähte gelesen.</translation>
  </message>
  <message>
    <source>Graphics card (CUDA)</source>
    <translation>Grafikkarte (CUDA)</translation>
  </message>
  <message>
    <source>Graphics of the Mac</source>
    <translation>Grafik des Mac</translation>
  </message>
  <message>
    <source>Hectares</source>
    <translation>Hektar</translation>
  </message>
  <message>
    <source>Image features</source>
    <translation>Bildmerkmale</translation>
  </message>
  <message>
    <source>In use: {program}, {origin}.</source>
    <translation>In Gebrauch: {program}, {origin}.</translation>
  </message>
  <message>
    <source>Installing PyTorch</source>
    <translation>PyTorch wird installiert</translation>
  </message>
  <message>
    <source>Installing codemae-geo</source>
    <translation>codemae-geo wird installiert</translation>
  </message>
  <message>
    <source>Installing libraries</source>
    <translation>Bibliotheken werden installiert</translation>
  </message>
  <message>
    <source>Intact</source>
    <translation>Unversehrt</translation>
  </message>
  <message>
    <source>Joplin after</source>
    <translation>Joplin nachher</translation>
  </message>
  <message>
    <source>Joplin before</source>
    <translation>Joplin vorher</translation>
  </message>
  <message>
    <source>Joplin buildings</source>
    <translation>Joplin Gebäude</translation>
  </message>
  <message>
    <source>Joplin, Missouri, before and after the tornado of 22 May 2011, with building footprints</source>
    <translation>Joplin, Missouri, vor und nach dem Tornado vom 22. Mai 2011, mit Gebäudegrundrissen</translation>
  </message>
  <message>
    <source>Leave out what is farther than 50 m from a building: faster where these are few</source>
    <translation>Auslassen, was mehr als 50 m von einem Gebäude entfernt ist: schneller, wo es wenige gibt</translation>
  </message>
  <message>
    <source>Limits</source>
    <translation>Grenzen</translation>
  </message>
  <message>
    <source>Limits of the model:</source>
    <translation>Grenzen des Modells:</translation>
  </message>
  <message>
    <source>Load the sample pair</source>
    <translation>Beispielpaar laden</translation>
  </message>
  <message>
    <source>Log</source>
    <translation>Protokoll</translation>
  </message>
  <message>
    <source>Look for it: created runtime, then codemae on the PATH</source>
    <translation>Suchen: angelegte Laufzeitumgebung, dann codemae im PATH</translation>
  </message>
  <message>
    <source>Looking at the images</source>
    <translation>Bilder werden betrachtet</translation>
  </message>
  <message>
    <source>Looking for missing pixels</source>
    <translation>Fehlende Pixel werden gesucht</translation>
  </message>
  <message>
    <source>Looking for the engine ...</source>
    <translation>Rechenkern wird gesucht ...</translation>
  </message>
  <message>
    <source>Looks at the headers and at some patches of two scenes, in seconds, and says whether a damage map can be made of them: how much ground they share, their pixel sizes, sensors and dates, how much is nodata, and whether they are shifted against each other. No model is run and nothing but the report is written.</source>
    <translation>Betrachtet in Sekunden die Köpfe und einige Ausschnitte zweier Szenen und sagt, ob sich daraus eine Schadenskarte machen lässt: wie viel Boden sie gemeinsam haben, ihre Pixelgrößen, Sensoren und Daten, wie viel ohne Messwert ist und ob sie gegeneinander verschoben sind. Kein Modell läuft, und außer dem Bericht wird nichts geschrieben.</translation>
  </message>
  <message>
    <source>Lowest score (empty: the model's)</source>
    <translation>Kleinster Wert (leer: der des Modells)</translation>
  </message>
  <message>
    <source>Made by</source>
    <translation>Erstellt mit</translation>
  </message>
  <message>
    <source>Map building damage</source>
    <translation>Gebäudeschäden kartieren</translation>
  </message>
  <message>
    <source>Measuring the offset</source>
    <translation>Versatz wird gemessen</translation>
  </message>
  <message>
    <source>Merging boxes</source>
    <translation>Rahmen werden zusammengeführt</translation>
  </message>
  <message>
    <source>Metres that count as near</source>
    <translation>Meter, die als nah gelten</translation>
  </message>
  <message>
    <source>Model</source>
    <translation>Modell</translation>
  </message>
  <message>
    <source>Model (name or file)</source>
    <translation>Modell (Name oder Datei)</translation>
  </message>
  <message>
    <source>Model (name or file; empty: the bundled one)</source>
    <translation>Modell (Name oder Datei; leer: das mitgelieferte)</translation>
  </message>
  <message>
    <source>Model card</source>
    <translation>Modellkarte</translation>
  </message>
  <message>
    <source>Model card: what it was trained on, how good it is, what it cannot do</source>
    <translation>Modellkarte: woran es trainiert wurde, wie gut es ist, was es nicht kann</translation>
  </message>
  <message>
    <source>Model package</source>
    <translation>Modellpaket</translation>
  </message>
  <message>
    <source>Model packages</source>
    <translation>Modellpakete</translation>
  </message>
  <message>
    <source>More</source>
    <translation>Mehr</translation>
  </message>
  <message>
    <source>NVIDIA graphics card, {size}: with PyTorch (CUDA), many times faster</source>
    <translation>NVIDIA-Grafikkarte, {size}: mit PyTorch (CUDA), um ein Vielfaches schneller</translation>
  </message>
  <message>
    <source>Nodata</source>
    <translation>Ohne Messwert</translation>
  </message>
  <message>
    <source>None</source>
    <translation>Keine</translation>
  </message>
  <message>
    <source>Number of buildings</source>
    <translation>Anzahl der Gebäude</translation>
  </message>
  <message>
    <source>Number of dimensions</source>
    <translation>Anzahl der Dimensionen</translation>
  </message>
  <message>
    <source>Number of objects</source>
    <translation>Anzahl der Objekte</translation>
  </message>
  <message>
    <source>Number of polygons</source>
    <translation>Anzahl der Polygone</translation>
  </message>
  <message>
    <source>Objects</source>
    <translation>Objekte</translation>
  </message>
  <message>
    <source>Offset of the scene after, metres east</source>
    <translation>Versatz der Szene nachher, Meter nach Osten</translation>
  </message>
  <message>
    <source>Offset of the scene after, metres north</source>
    <translation>Versatz der Szene nachher, Meter nach Norden</translation>
  </message>
  <message>
    <source>Only near buildings</source>
    <translation>Nur nahe an Gebäuden</translation>
  </message>
  <message>
    <source>Open Raster &gt; CoDe-MAE &gt; Set up runtime and choose another one</source>
    <translation>Öffnen Sie Raster &gt; CoDe-MAE &gt; Laufzeitumgebung einrichten und wählen Sie eine andere</translation>
  </message>
  <message>
    <source>Open Raster &gt; CoDe-MAE &gt; Set up runtime and create it again, or choose another one</source>
    <translation>Öffnen Sie Raster &gt; CoDe-MAE &gt; Laufzeitumgebung einrichten und legen Sie sie neu an, oder wählen Sie eine andere</translation>
  </message>
  <message>
    <source>Open Raster &gt; CoDe-MAE &gt; Set up runtime and update it to {version} or later</source>
    <translation>Öffnen Sie Raster &gt; CoDe-MAE &gt; Laufzeitumgebung einrichten und aktualisieren Sie sie auf {version} oder neuer</translation>
  </message>
  <message>
    <source>Open Raster &gt; CoDe-MAE &gt; Set up runtime and update the runtime</source>
    <translation>Öffnen Sie Raster &gt; CoDe-MAE &gt; Laufzeitumgebung einrichten und aktualisieren Sie die Laufzeitumgebung</translation>
  </message>
  <message>
    <source>Open Raster &gt; CoDe-MAE &gt; Set up runtime to create one or to point to an existing one</source>
    <translation>Öffnen Sie Raster &gt; CoDe-MAE &gt; Laufzeitumgebung einrichten, um eine anzulegen oder eine vorhandene zu wählen</translation>
  </message>
  <message>
    <source>Open Raster &gt; CoDe-MAE &gt; Set up runtime to install it there or to choose another one</source>
    <translation>Öffnen Sie Raster &gt; CoDe-MAE &gt; Laufzeitumgebung einrichten, um es dort zu installieren oder eine andere zu wählen</translation>
  </message>
  <message>
    <source>Optical</source>
    <translation>Optisch</translation>
  </message>
  <message>
    <source>Options</source>
    <translation>Optionen</translation>
  </message>
  <message>
    <source>Pixel size in metres</source>
    <translation>Pixelgröße in Metern</translation>
  </message>
  <message>
    <source>Pixel size of the map, in its units</source>
    <translation>Pixelgröße der Karte, in deren Einheit</translation>
  </message>
  <message>
    <source>Pixels of a cell</source>
    <translation>Pixel einer Zelle</translation>
  </message>
  <message>
    <source>Plan the CoDe-MAE runtime</source>
    <translation>Laufzeitumgebung von CoDe-MAE planen</translation>
  </message>
  <message>
    <source>Polygons</source>
    <translation>Polygone</translation>
  </message>
  <message>
    <source>Polygons of a layer</source>
    <translation>Polygone eines Layers</translation>
  </message>
  <message>
    <source>Processor</source>
    <translation>Prozessor</translation>
  </message>
  <message>
    <source>Processor, {size}: with PyTorch, any model and training</source>
    <translation>Prozessor, {size}: mit PyTorch, alle Modelle und Training</translation>
  </message>
  <message>
    <source>Processor, {size}: without PyTorch, maps with exported models</source>
    <translation>Prozessor, {size}: ohne PyTorch, Karten mit exportierten Modellen</translation>
  </message>
  <message>
    <source>Python</source>
    <translation>Python</translation>
  </message>
  <message>
    <source>QGIS cannot read {files}.</source>
    <translation>QGIS kann {files} nicht lesen.</translation>
  </message>
  <message>
    <source>QGIS knows no vector format that ends in .{ending}</source>
    <translation>QGIS kennt kein Vektorformat mit der Endung .{ending}</translation>
  </message>
  <message>
    <source>Radar (SAR)</source>
    <translation>Radar (SAR)</translation>
  </message>
  <message>
    <source>Read the model card</source>
    <translation>Modellkarte lesen</translation>
  </message>
  <message>
    <source>Reasons</source>
    <translation>Gründe</translation>
  </message>
  <message>
    <source>Rectangle drawn on the map</source>
    <translation>Auf der Karte gezeichnetes Rechteck</translation>
  </message>
  <message>
    <source>Remove from the list</source>
    <translation>Aus der Liste entfernen</translation>
  </message>
  <message>
    <source>Remove the CoDe-MAE runtime</source>
    <translation>Laufzeitumgebung von CoDe-MAE entfernen</translation>
  </message>
  <message>
    <source>Remove the runtime in {folder} ({used})?</source>
    <translation>Die Laufzeitumgebung in {folder} ({used}) entfernen?</translation>
  </message>
  <message>
    <source>Removing ...</source>
    <translation>Wird entfernt ...</translation>
  </message>
  <message>
    <source>Report</source>
    <translation>Bericht</translation>
  </message>
  <message>
    <source>Run</source>
    <translation>Starten</translation>
  </message>
  <message>
    <source>Run {number}: {title}</source>
    <translation>Lauf {number}: {title}</translation>
  </message>
  <message>
    <source>Save in</source>
    <translation>Speichern in</translation>
  </message>
  <message>
    <source>Scene</source>
    <translation>Szene</translation>
  </message>
  <message>
    <source>Segment a scene</source>
    <translation>Szene segmentieren</translation>
  </message>
  <message>
    <source>Sensor</source>
    <translation>Sensor</translation>
  </message>
  <message>
    <source>Sensor after</source>
    <translation>Sensor nachher</translation>
  </message>
  <message>
    <source>Sensor of the scene after</source>
    <translation>Sensor der Szene nachher</translation>
  </message>
  <message>
    <source>Set up CoDe-MAE</source>
    <translation>CoDe-MAE einrichten</translation>
  </message>
  <message>
    <source>Set up runtime</source>
    <translation>Laufzeitumgebung einrichten</translation>
  </message>
  <message>
    <source>Set up...</source>
    <translation>Einrichten...</translation>
  </message>
  <message>
    <source>Share of the scene after</source>
    <translation>Anteil der Szene nachher</translation>
  </message>
  <message>
    <source>Share of the scene before</source>
    <translation>Anteil der Szene vorher</translation>
  </message>
  <message>
    <source>Show</source>
    <translation>Zeigen</translation>
  </message>
  <message>
    <source>Show the scene after on the map and hide the one before</source>
    <translation>Szene nachher auf der Karte zeigen und die vorher verbergen</translation>
  </message>
  <message>
    <source>Show the scene before on the map and hide the one after</source>
    <translation>Szene vorher auf der Karte zeigen und die nachher verbergen</translation>
  </message>
  <message>
    <source>Square metres: {name}</source>
    <translation>Quadratmeter: {name}</translation>
  </message>
  <message>
    <source>Starting the engine ...</source>
    <translation>Rechenkern startet ...</translation>
  </message>
  <message>
    <source>Stop</source>
    <translation>Anhalten</translation>
  </message>
  <message>
    <source>Stopped. Create goes on where it stopped.</source>
    <translation>Angehalten. „Anlegen“ macht dort weiter.</translation>
  </message>
  <message>
    <source>Stopping ...</source>
    <translation>Wird angehalten ...</translation>
  </message>
  <message>
    <source>Summarises an existing damage raster on building footprints</source>
    <translation>Fasst ein vorhandenes Schadensraster je Gebäudegrundriss zusammen</translation>
  </message>
  <message>
    <source>Summary as JSON</source>
    <translation>Zusammenfassung als JSON</translation>
  </message>
  <message>
    <source>Swap before and after</source>
    <translation>Vorher und Nachher tauschen</translation>
  </message>
  <message>
    <source>Temporary files</source>
    <translation>Temporäre Dateien</translation>
  </message>
  <message>
    <source>The Python that has codemae-geo. Empty: the runtime that set-up created, then codemae on the PATH. The variable CODEMAE_GEO_PYTHON comes before all.</source>
    <translation>Das Python, in dem codemae-geo installiert ist. Leer: die angelegte Laufzeitumgebung, dann codemae im PATH. Die Variable CODEMAE_GEO_PYTHON geht allem vor.</translation>
  </message>
  <message>
    <source>The coordinate reference systems of before ({a}) and after ({b}) cannot be brought together; check them in the layers' properties.</source>
    <translation>Die Koordinatenbezugssysteme von Vorher ({a}) und Nachher ({b}) lassen sich nicht zusammenbringen; prüfen Sie sie in den Layereigenschaften.</translation>
  </message>
  <message>
    <source>The damage map of {title} is on the map.</source>
    <translation>Die Schadenskarte von {title} ist auf der Karte.</translation>
  </message>
  <message>
    <source>The diagnostics are in the clipboard.</source>
    <translation>Die Diagnose ist in der Zwischenablage.</translation>
  </message>
  <message>
    <source>The fastest there is</source>
    <translation>Das schnellste vorhandene</translation>
  </message>
  <message>
    <source>The folder {folder} cannot be written to; choose another one or ask for the right to write there.</source>
    <translation>In den Ordner {folder} kann nicht geschrieben werden; wählen Sie einen anderen oder lassen Sie sich das Schreibrecht geben.</translation>
  </message>
  <message>
    <source>The folder {folder} does not exist; create it or choose another one.</source>
    <translation>Den Ordner {folder} gibt es nicht; legen Sie ihn an oder wählen Sie einen anderen.</translation>
  </message>
  <message>
    <source>The model {name} reads {sensor} after the event: choose another model, or let the sensor be as it says.</source>
    <translation>Das Modell {name} liest nach dem Ereignis {sensor}: Wählen Sie ein anderes Modell, oder lassen Sie den Sensor, wie es ihn vorgibt.</translation>
  </message>
  <message>
    <source>The pair can be used with care.</source>
    <translation>Das Paar ist mit Vorsicht brauchbar.</translation>
  </message>
  <message>
    <source>The pair can be used.</source>
    <translation>Das Paar ist brauchbar.</translation>
  </message>
  <message>
    <source>The pair cannot be used.</source>
    <translation>Das Paar ist nicht brauchbar.</translation>
  </message>
  <message>
    <source>The python (or the environment's folder) in which you have run: pip install codemae-geo</source>
    <translation>Das Python (oder der Ordner der Umgebung), in dem Sie ausgeführt haben: pip install codemae-geo</translation>
  </message>
  <message>
    <source>The result {path} cannot be opened.</source>
    <translation>Das Ergebnis {path} lässt sich nicht öffnen.</translation>
  </message>
  <message>
    <source>The run failed without a word.</source>
    <translation>Der Lauf ist ohne Meldung gescheitert.</translation>
  </message>
  <message>
    <source>The runtime has been removed.</source>
    <translation>Die Laufzeitumgebung ist entfernt.</translation>
  </message>
  <message>
    <source>The runtime is ready. Close this window and run.</source>
    <translation>Die Laufzeitumgebung ist bereit. Schließen Sie dieses Fenster, und starten Sie.</translation>
  </message>
  <message>
    <source>The variable {name} comes before this choice: remove it and start QGIS again.</source>
    <translation>Die Variable {name} geht dieser Wahl vor: Entfernen Sie sie, und starten Sie QGIS neu.</translation>
  </message>
  <message>
    <source>There is no engine to run: click Set up.</source>
    <translation>Es gibt keinen Rechenkern: Klicken Sie auf „Einrichten“.</translation>
  </message>
  <message>
    <source>There is one already: {used}.</source>
    <translation>Es gibt schon eine: {used}.</translation>
  </message>
  <message>
    <source>To analyse only near buildings, choose the layer with their footprints.</source>
    <translation>Um nur nahe an Gebäuden auszuwerten, wählen Sie den Layer mit deren Grundrissen.</translation>
  </message>
  <message>
    <source>Two outputs have the same file {path}; choose different names.</source>
    <translation>Zwei Ausgaben haben dieselbe Datei {path}; wählen Sie verschiedene Namen.</translation>
  </message>
  <message>
    <source>Uninstall</source>
    <translation>Entfernen</translation>
  </message>
  <message>
    <source>Update the CoDe-MAE plugin in the plugin manager</source>
    <translation>Aktualisieren Sie die Erweiterung CoDe-MAE in der Erweiterungsverwaltung</translation>
  </message>
  <message>
    <source>Use an existing one</source>
    <translation>Eine vorhandene verwenden</translation>
  </message>
  <message>
    <source>Verdict</source>
    <translation>Urteil</translation>
  </message>
  <message>
    <source>Warning</source>
    <translation>Warnung</translation>
  </message>
  <message>
    <source>What a backbone sees: a vector of features for every few pixels, and a picture of it</source>
    <translation>Was ein Rückgrat sieht: ein Merkmalsvektor für je einige Pixel, und ein Bild davon</translation>
  </message>
  <message>
    <source>What the map shows</source>
    <translation>Was die Karte zeigt</translation>
  </message>
  <message>
    <source>Wheel folder</source>
    <translation>Ordner mit Wheels</translation>
  </message>
  <message>
    <source>Whether two scenes can be made into a damage map: overlap, resolution, offset, sensors, nodata</source>
    <translation>Ob sich aus zwei Szenen eine Schadenskarte machen lässt: Überlappung, Auflösung, Versatz, Sensoren, fehlende Messwerte</translation>
  </message>
  <message>
    <source>Whole overlap</source>
    <translation>Ganze Überlappung</translation>
  </message>
  <message>
    <source>Without a network: a folder with the wheels of codemae-geo and all it needs</source>
    <translation>Ohne Netz: ein Ordner mit den Wheels von codemae-geo und allem, was es braucht</translation>
  </message>
  <message>
    <source>Writing rasters</source>
    <translation>Raster werden geschrieben</translation>
  </message>
  <message>
    <source>Zoom</source>
    <translation>Zoomen</translation>
  </message>
  <message>
    <source>ask for the right to write there</source>
    <translation>Lassen Sie sich das Schreibrecht dort geben</translation>
  </message>
  <message>
    <source>cancelled</source>
    <translation>abgebrochen</translation>
  </message>
  <message>
    <source>check the network, the proxy (Settings &gt; Options &gt; Network) and the free disk space, and try again; finished steps are not repeated</source>
    <translation>Prüfen Sie das Netz, den Proxy (Einstellungen &gt; Optionen &gt; Netzwerk) und den freien Speicherplatz und versuchen Sie es noch einmal; fertige Schritte werden nicht wiederholt</translation>
  </message>
  <message>
    <source>check,overlap,offset,registration,sensor,nodata,pair</source>
    <translation>prüfen,Überlappung,Versatz,Registrierung,Sensor,Nodata,Paar</translation>
  </message>
  <message>
    <source>choose a name that ends in .gpkg</source>
    <translation>Wählen Sie einen Namen mit der Endung .gpkg</translation>
  </message>
  <message>
    <source>choose another folder</source>
    <translation>Wählen Sie einen anderen Ordner</translation>
  </message>
  <message>
    <source>choose another place, or a name that ends in .gpkg</source>
    <translation>Wählen Sie einen anderen Ort oder einen Namen mit der Endung .gpkg</translation>
  </message>
  <message>
    <source>chosen here</source>
    <translation>hier gewählt</translation>
  </message>
  <message>
    <source>close the program that uses it, remove the layer from QGIS, or choose another name</source>
    <translation>Schließen Sie das Programm, das die Datei benutzt, entfernen Sie den Layer aus QGIS oder wählen Sie einen anderen Namen</translation>
  </message>
  <message>
    <source>codemae-geo is not installed in {program}</source>
    <translation>codemae-geo ist in {program} nicht installiert</translation>
  </message>
  <message>
    <source>created here</source>
    <translation>hier angelegt</translation>
  </message>
  <message>
    <source>damage,buildings,footprints,zonal statistics,aggregate</source>
    <translation>Schaden,Gebäude,Grundrisse,zonale Statistik,zusammenfassen</translation>
  </message>
  <message>
    <source>damage,disaster,change detection,buildings,sar,earthquake,tornado,deep learning</source>
    <translation>Schaden,Katastrophe,Änderungserkennung,Gebäude,SAR,Erdbeben,Tornado,Deep Learning</translation>
  </message>
  <message>
    <source>delete it by hand if you want</source>
    <translation>Löschen Sie ihn von Hand, wenn Sie möchten</translation>
  </message>
  <message>
    <source>detection,objects,boxes,ships,vehicles,deep learning</source>
    <translation>Detektion,Objekte,Rahmen,Schiffe,Fahrzeuge,Deep Learning</translation>
  </message>
  <message>
    <source>done</source>
    <translation>fertig</translation>
  </message>
  <message>
    <source>embedding,features,backbone,similarity,clustering,deep learning</source>
    <translation>Einbettung,Merkmale,Rückgrat,Ähnlichkeit,Gruppierung,Deep Learning</translation>
  </message>
  <message>
    <source>empty it, or point to the environment in it instead of making one</source>
    <translation>Leeren Sie ihn, oder wählen Sie die Umgebung darin, statt eine anzulegen</translation>
  </message>
  <message>
    <source>failed</source>
    <translation>gescheitert</translation>
  </message>
  <message>
    <source>found on the PATH</source>
    <translation>im PATH gefunden</translation>
  </message>
  <message>
    <source>free some space or choose another disk</source>
    <translation>Schaffen Sie Platz oder wählen Sie einen anderen Datenträger</translation>
  </message>
  <message>
    <source>free some space there</source>
    <translation>Schaffen Sie dort Platz</translation>
  </message>
  <message>
    <source>install uv (https://docs.astral.sh/uv/) or Python and try again, or run two commands in a terminal:</source>
    <translation>Installieren Sie uv (https://docs.astral.sh/uv/) oder Python und versuchen Sie es noch einmal, oder führen Sie zwei Befehle in einem Terminal aus:</translation>
  </message>
  <message>
    <source>less</source>
    <translation>weniger</translation>
  </message>
  <message>
    <source>making a runtime needs uv or Python 3.11 to 3.13 (with its venv module), and neither was found</source>
    <translation>Eine Laufzeitumgebung anzulegen braucht uv oder Python 3.11 bis 3.13 (mit dem Modul venv), und keines von beiden wurde gefunden</translation>
  </message>
  <message>
    <source>more</source>
    <translation>mehr</translation>
  </message>
  <message>
    <source>move it away and try again</source>
    <translation>Verschieben Sie sie und versuchen Sie es noch einmal</translation>
  </message>
  <message>
    <source>named by the variable {name}</source>
    <translation>durch die Variable {name} bestimmt</translation>
  </message>
  <message>
    <source>no answer within {seconds} seconds</source>
    <translation>keine Antwort innerhalb von {seconds} Sekunden</translation>
  </message>
  <message>
    <source>not looked for yet</source>
    <translation>noch nicht gesucht</translation>
  </message>
  <message>
    <source>optical images</source>
    <translation>optische Bilder</translation>
  </message>
  <message>
    <source>radar</source>
    <translation>Radar</translation>
  </message>
  <message>
    <source>run it again on a smaller area or on the CPU; the log has the last lines that it printed</source>
    <translation>Rechnen Sie noch einmal mit einem kleineren Gebiet oder auf dem Prozessor; das Protokoll enthält die letzten Zeilen, die er ausgegeben hat</translation>
  </message>
  <message>
    <source>running</source>
    <translation>läuft</translation>
  </message>
  <message>
    <source>see the log</source>
    <translation>siehe Protokoll</translation>
  </message>
  <message>
    <source>segmentation,classification,land cover,deep learning,inference</source>
    <translation>Segmentierung,Klassifikation,Landbedeckung,Deep Learning,Inferenz</translation>
  </message>
  <message>
    <source>stop running maps and try again</source>
    <translation>Brechen Sie laufende Karten ab und versuchen Sie es noch einmal</translation>
  </message>
  <message>
    <source>the codemae-geo in {program} has no sample pair</source>
    <translation>das codemae-geo in {program} hat kein Beispielpaar</translation>
  </message>
  <message>
    <source>the codemae-geo in {program} is too old for this plugin</source>
    <translation>das codemae-geo in {program} ist zu alt für diese Erweiterung</translation>
  </message>
  <message>
    <source>the codemae-geo runtime {program} does not start (exit status {status})</source>
    <translation>die Laufzeitumgebung {program} von codemae-geo startet nicht (Rückgabewert {status})</translation>
  </message>
  <message>
    <source>the codemae-geo runtime {version} speaks protocol {its}, this plugin speaks {ours}</source>
    <translation>die Laufzeitumgebung codemae-geo {version} spricht Protokoll {its}, diese Erweiterung spricht {ours}</translation>
  </message>
  <message>
    <source>the codemae-geo {version} in {program} is too old for this plugin</source>
    <translation>das codemae-geo {version} in {program} ist zu alt für diese Erweiterung</translation>
  </message>
  <message>
    <source>the disk that holds {folder} is full</source>
    <translation>der Datenträger mit {folder} ist voll</translation>
  </message>
  <message>
    <source>the engine stopped without a result (exit status {status})</source>
    <translation>der Rechenkern endete ohne Ergebnis (Rückgabewert {status})</translation>
  </message>
  <message>
    <source>the engine was ended by signal {number}</source>
    <translation>der Rechenkern wurde durch das Signal {number} beendet</translation>
  </message>
  <message>
    <source>the engine was killed, most likely because the computer ran out of memory</source>
    <translation>der Rechenkern wurde abgeschossen, höchstwahrscheinlich weil der Arbeitsspeicher nicht reichte</translation>
  </message>
  <message>
    <source>the folder {folder} has content that set-up did not make</source>
    <translation>der Ordner {folder} hat Inhalt, der nicht von der Einrichtung stammt</translation>
  </message>
  <message>
    <source>the layer {layer} cannot be written as {format}</source>
    <translation>der Layer {layer} kann nicht als {format} geschrieben werden</translation>
  </message>
  <message>
    <source>the runtime needs about {needed} MB and the disk of {folder} has {free} MB free</source>
    <translation>die Laufzeitumgebung braucht etwa {needed} MB, und auf dem Datenträger mit {folder} sind {free} MB frei</translation>
  </message>
  <message>
    <source>the sample pair cannot be copied to {folder} ({reason})</source>
    <translation>das Beispielpaar kann nicht nach {folder} kopiert werden ({reason})</translation>
  </message>
  <message>
    <source>the setting names a codemae-geo runtime that is not there: {path}</source>
    <translation>die Einstellung nennt eine Laufzeitumgebung, die es nicht gibt: {path}</translation>
  </message>
  <message>
    <source>the variable {name} names a codemae-geo runtime that is not there: {path}</source>
    <translation>die Variable {name} nennt eine Laufzeitumgebung, die es nicht gibt: {path}</translation>
  </message>
  <message>
    <source>there is no codemae-geo runtime yet</source>
    <translation>es gibt noch keine Laufzeitumgebung codemae-geo</translation>
  </message>
  <message>
    <source>try again when the computer has less to do</source>
    <translation>Versuchen Sie es noch einmal, wenn der Rechner weniger zu tun hat</translation>
  </message>
  <message>
    <source>waiting</source>
    <translation>wartet</translation>
  </message>
  <message>
    <source>{folder} cannot be deleted ({reason})</source>
    <translation>{folder} kann nicht gelöscht werden ({reason})</translation>
  </message>
  <message>
    <source>{folder} cannot be written to ({reason})</source>
    <translation>in {folder} kann nicht geschrieben werden ({reason})</translation>
  </message>
  <message>
    <source>{folder} was not made by set-up and is left alone</source>
    <translation>{folder} stammt nicht von der Einrichtung und bleibt, wie es ist</translation>
  </message>
  <message>
    <source>{name}: rasters are written as GeoTIFF; choose a name that ends in .tif.</source>
    <translation>{name}: Raster werden als GeoTIFF geschrieben; wählen Sie einen Namen, der auf .tif endet.</translation>
  </message>
  <message>
    <source>{name}: {path} is not there or cannot be opened; choose the file again.</source>
    <translation>{name}: {path} ist nicht da oder lässt sich nicht öffnen; wählen Sie die Datei erneut.</translation>
  </message>
  <message>
    <source>{path} cannot be replaced ({reason})</source>
    <translation>{path} kann nicht ersetzt werden ({reason})</translation>
  </message>
  <message>
    <source>{path} is a file, and a folder is needed there</source>
    <translation>{path} ist eine Datei, und dort wird ein Ordner gebraucht</translation>
  </message>
  <message>
    <source>{path} is a file, not a folder; choose another place for the output.</source>
    <translation>{path} ist eine Datei, kein Ordner; wählen Sie einen anderen Ort für die Ausgabe.</translation>
  </message>
  <message>
    <source>{path} is a folder; choose the name of a file in it.</source>
    <translation>{path} ist ein Ordner; wählen Sie den Namen einer Datei darin.</translation>
  </message>
  <message>
    <source>{program} answers something else than codemae-geo</source>
    <translation>{program} antwortet etwas anderes als codemae-geo</translation>
  </message>
  <message>
    <source>{program} cannot be started ({reason})</source>
    <translation>{program} kann nicht gestartet werden ({reason})</translation>
  </message>
  <message>
    <source>{rate} per second</source>
    <translation>{rate} je Sekunde</translation>
  </message>
  <message>
    <source>{role}: choose a raster layer or an existing file.</source>
    <translation>{role}: Wählen Sie einen Rasterlayer oder eine vorhandene Datei.</translation>
  </message>
  <message>
    <source>{role}: the file of “{name}” is no longer at {path}; repair the layer's source or choose the file again.</source>
    <translation>{role}: Die Datei von „{name}“ ist nicht mehr unter {path}; reparieren Sie die Quelle des Layers, oder wählen Sie die Datei erneut.</translation>
  </message>
  <message>
    <source>{role}: “{name}” cannot be opened; check that {path} is a whole raster file.</source>
    <translation>{role}: „{name}“ lässt sich nicht öffnen; prüfen Sie, ob {path} eine vollständige Rasterdatei ist.</translation>
  </message>
  <message>
    <source>{role}: “{name}” comes from a server or is computed by QGIS and has no file to read; export it first (right click &gt; Export &gt; Save As, raw data, GeoTIFF) and choose the exported file.</source>
    <translation>{role}: „{name}“ kommt von einem Server oder wird von QGIS berechnet und hat keine Datei, die sich lesen ließe; exportieren Sie ihn zuerst (Rechtsklick &gt; Export &gt; Speichern als, Rohdaten, GeoTIFF), und wählen Sie die exportierte Datei.</translation>
  </message>
  <message>
    <source>{role}: “{name}” has no coordinate reference system; set it (right click &gt; Layer CRS &gt; Set Layer CRS).</source>
    <translation>{role}: „{name}“ hat kein Koordinatenbezugssystem; setzen Sie es (Rechtsklick &gt; Layer-KBS &gt; Layer-KBS setzen).</translation>
  </message>
  <message>
    <source>{scene}: further tiles</source>
    <translation>{scene}: weitere Kacheln</translation>
  </message>
  <message>
    <source>{stage}: {done} of {total}</source>
    <translation>{stage}: {done} von {total}</translation>
  </message>
  <message>
    <source>{step} failed: {reason}</source>
    <translation>{step}: fehlgeschlagen ({reason})</translation>
  </message>
  <message>
    <source>{time} left</source>
    <translation>noch {time}</translation>
  </message>
  <message>
    <source>{title}: {all} buildings, {destroyed} destroyed, {damaged} damaged.</source>
    <translation>{title}: {all} Gebäude, {destroyed} zerstört, {damaged} beschädigt.</translation>
  </message>
</context>
</TS>
